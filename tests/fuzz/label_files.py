"""Folders of images and labels, depth maps, class lists and COCO annotations with something wrong in them."""

from __future__ import annotations

import io
import json
import os

import numpy as np
from fuzz import image_files
from fuzz.image_files import HEIGHT, WIDTH
from fuzz.runner import EITHER, VALID, WRONG
from PIL import Image

NAMES = ("first", "second", "third")


def labels(random, values=(0, 1, 255)):
    """A label map (H, W) of uint8: a band of each value, in any order."""
    order = random.sample(list(values), len(values))
    return np.repeat(np.array(order, np.uint8), -(-HEIGHT // len(order)))[:HEIGHT, None].repeat(WIDTH, 1)


def png(image, kind="PNG"):
    buffer = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(buffer, kind)
    return buffer.getvalue()


def make_folder(random, root, values=(0, 1, 255)):
    """Write three images with labels."""
    for part in ("images", "labels"):
        (root / part).mkdir(parents=True)
    for name in NAMES:
        (root / "images" / f"{name}.png").write_bytes(image_files.encoded(random))
        (root / "labels" / f"{name}.png").write_bytes(png(labels(random, values)))


def palette_png(array, colors):
    image = Image.fromarray(array)
    image.putpalette(colors)
    return png(image)


def content(random):
    """(name, bytes, expected) of a label file."""
    good = labels(random)
    rgb = np.stack([good] * 3, 2)
    return random.choice(
        (
            lambda: ("intact", png(good), VALID),
            lambda: ("8-bit palette", palette_png(good, [0, 0, 0, 128, 0, 0]), VALID),
            lambda: ("other palette", palette_png(good, [9, 9, 9, 200, 0, 7]), VALID),
            lambda: ("1 bit", png(Image.fromarray(good == 1)), VALID),
            lambda: ("16 bits of small values", png(good.astype(np.uint16)), VALID),
            lambda: ("16 bits of large values", png(good.astype(np.uint16) * 201), WRONG),
            lambda: ("a third class", png(labels(random, (0, 1, 2))), WRONG),
            lambda: ("value 254", png(labels(random, (0, 254))), WRONG),
            lambda: ("all ignored", png(np.full_like(good, 255)), EITHER),
            lambda: ("one class", png(np.zeros_like(good)), EITHER),
            lambda: ("smaller", png(good[:-1]), WRONG),
            lambda: ("turned", png(np.ascontiguousarray(good.T)), WRONG),
            lambda: ("one pixel", png(good[:1, :1]), WRONG),
            lambda: ("RGB", png(rgb), WRONG),
            lambda: ("RGBA", png(np.dstack([rgb, good])), WRONG),
            lambda: ("gray with alpha", png(Image.fromarray(good).convert("LA")), WRONG),
            lambda: ("float TIFF named png", png(good.astype(np.float32), "TIFF"), WRONG),
            lambda: ("CMYK TIFF named png", png(Image.fromarray(rgb).convert("CMYK"), "TIFF"), WRONG),
            lambda: ("int32 TIFF named png", png(good.astype(np.int32) - 2, "TIFF"), WRONG),
            lambda: ("JPEG named png", png(good, "JPEG"), WRONG),
            lambda: ("BMP named png", png(good, "BMP"), VALID),
            lambda: ("truncated", png(good)[: random.randrange(1, 50)], WRONG),
            lambda: ("huge", image_files.png_header(60_000, 60_000, 8, 0), WRONG),
            lambda: ("random bytes", random.randbytes(300), WRONG),
            lambda: ("empty", b"", WRONG),
            lambda: ("HTML", image_files.NOT_IMAGES["html"], WRONG),
            lambda: ("EPS", image_files.NOT_IMAGES["eps"], WRONG),
        )
    )()


def spoil_label(random, root):
    """Replace a label file; (name, expected, what the message must say)."""
    name = random.choice(NAMES)
    path = root / "labels" / f"{name}.png"
    if random.random() < 0.6:
        what, data, expected = content(random)
        path.write_bytes(data)
        return f"label: {what}", expected, path.name
    path.unlink()
    kind = random.choice(("missing", "jpg", "tif", "folder", "fifo", "loop", "upper case", "all missing"))
    if kind == "jpg":
        path.with_suffix(".jpg").write_bytes(png(labels(random), "JPEG"))
    elif kind == "tif":
        path.with_suffix(".tif").write_bytes(png(labels(random), "TIFF"))
    elif kind == "folder":
        path.mkdir()
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind == "loop":
        path.symlink_to(path)
    elif kind == "upper case":
        (root / "labels" / f"{name.upper()}.png").write_bytes(png(labels(random)))
    elif kind == "all missing":
        for other in (root / "labels").iterdir():
            other.unlink()
        return "no labels", WRONG, "labels"
    return f"label: {kind}", WRONG, name


def spoil_image(random, root):
    """Replace an image of the folder."""
    path = root / "images" / "second.png"
    name, suffix, data, expected = random.choice(
        (image_files.truncated, image_files.other_content, image_files.wrong_values, image_files.lying_size)
    )(random)
    if suffix == "ppm":  # is not looked for in a folder
        return "intact", VALID, ""
    path.unlink()
    path = path.with_suffix(f".{suffix}")
    path.write_bytes(data)
    # An image of another kind than its labels' size is fine only if it is of that size.
    return f"image: {name}", expected, path.name


def spoil_folder(random, root):
    """Change the layout of the folder."""
    kinds = ("no images", "no label folder", "images is a file", "nothing", "two of a stem", "tiny", "more")
    kind = random.choice(kinds)
    if kind in ("no images", "images is a file"):
        for path in (root / "images").iterdir():
            path.unlink()
    if kind == "images is a file":
        (root / "images").rmdir()
        (root / "images").touch()
    elif kind == "no label folder":
        (root / "labels").rename(root / "masks")
    elif kind == "nothing":
        (root / "labels").rename(root / "a")
        (root / "images").rename(root / "b")
    elif kind == "two of a stem":
        (root / "images" / "first.jpg").write_bytes(image_files.encoded(random, "jpg"))
        return kind, EITHER, "first"
    elif kind == "tiny":
        (root / "images" / "first.png").write_bytes(image_files.encoded(random, size=(3, 2)))
        (root / "labels" / "first.png").write_bytes(png(labels(random)[:2, :3]))
        return kind, EITHER, "first"
    elif kind == "more":
        (root / "labels" / "fourth.png").write_bytes(png(labels(random)))
        (root / "images" / "notes.txt").write_text("not an image")
        (root / "images" / ".hidden.png").write_bytes(b"")
        return kind, EITHER, "hidden"
    return f"folder: {kind}", WRONG, "images"


def class_list(random, path):
    """Write a class list; (name, expected)."""
    kind, text, expected = random.choice(
        (
            ("names", b"ground\ndisc\n", VALID),
            ("colors", b"ground 0 0 0\ndisc 255 0 0\n", VALID),
            ("BOM and CRLF", b"\xef\xbb\xbfground\r\ndisc\r\n", VALID),
            ("comments", b"# classes\n\nground\ndisc\n", VALID),
            ("one class", b"ground\n", WRONG),
            ("empty", b"", WRONG),
            ("comments only", b"# nothing\n", WRONG),
            ("repeated", b"ground\nground\n", WRONG),
            ("color too large", b"ground 0 0 256\ndisc 1 1 1\n", WRONG),
            ("color twice", b"ground 1 1 1\ndisc 1 1 1\n", WRONG),
            ("some colors", b"ground 1 1 1\ndisc\n", WRONG),
            ("digits", b"ground " + b"9" * 5000 + b" 1 1\ndisc 1 1 1\n", WRONG),
            ("not UTF-8", b"gr\xfcn\ndisc\n", WRONG),
            ("zeros", bytes(100), EITHER),
            ("an image", image_files.encoded(random), WRONG),
            ("long line", b"x" * 100_000 + b"\ndisc\n", EITHER),
            ("terminal codes", b"\x1b[31mground\ndisc\x07\n", EITHER),
            ("emoji", "🚗\u200d👩\ntab\tbed".encode(), EITHER),
        )
    )
    path.write_bytes(text)
    return f"class list: {kind}", expected


def depth_map(random, folder):
    """Write a depth map; (name, path, expected)."""
    depth = np.full((HEIGHT, WIDTH), 2.5, np.float32)
    unknown = np.where(np.arange(WIDTH) < 9, np.nan, depth)
    kind, value, expected = random.choice(
        (
            ("float32", depth, VALID), ("float64", depth.astype(np.float64), VALID), ("unknown", unknown, VALID),
            ("smaller", depth[1:], WRONG), ("turned", depth.T, WRONG), ("of three ranks", depth[None], WRONG),
            ("objects", np.array([{}, None]), WRONG), ("text", np.array(["a"]), WRONG), ("complex", depth * 1j, WRONG),
            ("a number", np.array(1.0), WRONG), ("empty", depth[:0], WRONG), ("bool", depth > 0, WRONG),
            ("negative", -depth, WRONG), ("infinite", depth + np.inf, EITHER), ("zero", depth * 0, EITHER),
            ("half", depth.astype(np.float16), EITHER), ("integers", depth.astype(np.int32), EITHER),
        )
    )  # fmt: skip
    path = folder / "depth.npy"
    form = random.choice(("npy", "npy", "npy", "png", "broken"))
    if form == "npy":
        np.save(path, value)
    elif form == "png":
        path = folder / "depth.png"
        kind, expected = "RGB PNG", WRONG
        path.write_bytes(image_files.encoded(random))
        if random.random() < 0.5:
            kind, expected = "16-bit PNG", VALID
            path.write_bytes(png(np.full((HEIGHT, WIDTH), 2500, np.uint16)))
    else:
        buffer = io.BytesIO()
        np.save(buffer, depth)
        data = buffer.getvalue()
        kind, data = random.choice(
            (
                ("cut", data[: random.randrange(len(data))]), ("random bytes", random.randbytes(200)), ("none", None),
                ("huge", data.replace(b"(40, 48), }    ", b"(400000, 480000)")), ("pickle", b"\x80\x04N."),
            )
        )  # fmt: skip
        expected = WRONG
        if data is not None:
            path.write_bytes(data)
    return f"depth map: {kind} ({form})", path, expected


JUNK = (None, -1, 0, 1, "x", "", [], {}, [[1, 2]], float("nan"), float("inf"), 10**30, True, "../../x", 1.5, [None] * 6)


def coco_folder(random, root):
    """Write a COCO data set, one entry of whose JSON is replaced or missing; (name, expected)."""
    (root / "annotations").mkdir(parents=True)
    (root / "val2017").mkdir()
    square = [5, 5, 25, 5, 25, 25, 5, 25]
    record = {"id": 1, "image_id": 7, "category_id": 3, "segmentation": [square], "bbox": [5, 5, 20, 20]}
    content = {
        "images": [{"id": 7, "file_name": "a.png", "width": WIDTH, "height": HEIGHT}],
        "categories": [{"id": 3, "name": "disc"}],
        "annotations": [record | {"area": 400, "iscrowd": 0}],
    }
    (root / "val2017" / "a.png").write_bytes(image_files.encoded(random))
    name, expected = "intact", VALID
    text = None
    if random.random() < 0.15:
        text = random.choice((b"", b"[", b"[]", b"{}", b"null", b"\xff\xfe", b"[" * 100_000, b'{"images": [1]}'))
        name, expected = f"JSON {text[:20]!r}", WRONG
    elif random.random() < 0.9:
        place = content
        table = random.choice(list(content))
        if random.random() < 0.8:
            place = content[table][0]
        key = random.choice(list(place))
        value = random.choice((*JUNK, "delete"))
        if value == "delete":
            del place[key]
        else:
            place[key] = value
        name, expected = f"{table} {key} = {value!r}", EITHER
    (root / "annotations" / "instances_val2017.json").write_bytes(
        json.dumps(content).encode() if text is None else text
    )
    return f"COCO: {name}", expected
