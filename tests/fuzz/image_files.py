"""Image files: every kind that is read, and every way in which one can be broken."""

from __future__ import annotations

import io
import os
import struct
import zlib

import numpy as np
import tifffile
from fuzz.runner import EITHER, VALID, WRONG
from PIL import Image

HEIGHT, WIDTH = 40, 48
# Modes that Pillow writes, by suffix.
MODES = {
    "png": ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "I;16"),
    "jpg": ("L", "RGB", "CMYK"),
    "bmp": ("1", "L", "P", "RGB", "RGBA"),
    "gif": ("1", "L", "P", "PA", "RGB"),
    "tif": ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16", "F"),
    "webp": ("L", "RGB", "RGBA"),
    "ppm": ("1", "L", "RGB"),
}
# (dtype, channels) of TIFF files and the value of full brightness.
TIFFS = {("uint16", 1): 65535, ("uint16", 3): 65535, ("uint16", 4): 65535, ("float32", 3): 1, ("float64", 1): 1}
NOT_IMAGES = {
    "eps": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 48 40\n0 0 moveto showpage\n%%EOF\n",
    "html": b"<!DOCTYPE html><html><body>404 Not Found</body></html>",
    "svg": b'<svg xmlns="http://www.w3.org/2000/svg" width="48" height="40"/>',
    "pdf": b"%PDF-1.7\n1 0 obj << >> endobj\ntrailer << >>\n%%EOF\n",
    "lfs": b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12345\n",
    "json": b'{"images": []}',
    "npy": b"\x93NUMPY\x01\x00v\x00{'descr': '<f8', 'fortran_order': False, 'shape': (3,), }",
}
NAMES = (
    "with space.png", "Straße 東京 🚗.png", "it's \"quoted\".png", "[red]x.png", "[].png", "%s%d{}.png",
    ".png.png", "UPPER.PNG", "no suffix", "line\nbreak.png", "tab\tstop.png", "escape\x1b[31m.png", "a" * 200 + ".png",
    os.fsdecode(b"latin\xe9.png"), "\u202etxt.png", "~.png", "$HOME.png", "*.png",
)  # fmt: skip


def photo(random, mode="RGB", size=(WIDTH, HEIGHT)):
    """An image of random pixels in a mode of Pillow."""
    width, height = size
    pixels = np.frombuffer(random.randbytes(width * height * 3), np.uint8).reshape(height, width, 3)
    if mode == "I;16":
        return Image.fromarray(pixels[..., 0].astype(np.uint16) * 257)
    if mode == "F":
        return Image.fromarray(pixels[..., 0].astype(np.float32) / 255)
    image = Image.fromarray(pixels)
    if mode in ("P", "PA"):
        image = image.quantize(16)
        if mode == "PA":
            image.info["transparency"] = 3
        return image
    return image.convert(mode)


def encoded(random, suffix="png", mode="RGB", size=(WIDTH, HEIGHT), **options):
    """The bytes of an image file."""
    buffer = io.BytesIO()
    image = photo(random, mode, size)
    kind = {"jpg": "JPEG", "tif": "TIFF"}.get(suffix, suffix.upper())
    image.save(buffer, kind, **image.info, **options)
    return buffer.getvalue()


def png_header(width, height, bits=8, color=2):
    """A PNG that states a size and holds next to nothing."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, bits, color, 0, 0, 0)
    chunks = {b"IHDR": header, b"IDAT": zlib.compress(b"\0" * 100), b"IEND": b""}
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(kind, data) for kind, data in chunks.items())


def tiff(array, **options):
    """The bytes of a TIFF file."""
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, array, **options)
    return buffer.getvalue()


def intact(random):
    """(name, suffix, bytes, VALID) of an image of any kind that is read."""
    if random.random() < 0.25:
        (dtype, channels), full = random.choice(list(TIFFS.items()))
        values = np.frombuffer(random.randbytes(HEIGHT * WIDTH * channels), np.uint8) / 255 * full
        array = values.reshape(HEIGHT, WIDTH, channels).astype(dtype).squeeze()
        kwargs = {"photometric": "rgb" if channels >= 3 else "minisblack"}
        return f"{dtype} TIFF of {channels}", "tif", tiff(array, **kwargs), VALID
    suffix = random.choice(list(MODES))
    mode = random.choice(MODES[suffix])
    return f"{suffix} {mode}", suffix, encoded(random, suffix, mode), VALID


def truncated(random):
    """A file that ends too early: a cut of more than a fifth must be seen, the last bytes of many are not needed."""
    suffix = random.choice(list(MODES))
    data = encoded(random, suffix, random.choice(MODES[suffix]))
    share = random.random()
    return f"{suffix} cut at {share:.0%}", suffix, data[: int(share * len(data))], WRONG if share < 0.8 else EITHER


def flipped(random):
    """Some bits of the first 100 bytes are others."""
    suffix = random.choice(list(MODES))
    data = bytearray(encoded(random, suffix, random.choice(MODES[suffix])))
    for _ in range(random.randint(1, 4)):
        data[random.randrange(min(100, len(data)))] ^= 1 << random.randrange(8)
    return f"{suffix} with flipped bits", suffix, bytes(data), EITHER


def other_content(random):
    """Content that does not fit the suffix."""
    suffix = random.choice(("png", "jpg", "tif", "webp", "bmp", "gif"))
    if random.random() < 0.3:
        kind = random.choice(list(MODES))
        return f"{kind} named {suffix}", suffix, encoded(random, kind, "RGB"), VALID
    kind = random.choice([*NOT_IMAGES, "empty", "random bytes", "zeros", "ICO", "TGA", "PCX", "DDS", "IM"])
    data = NOT_IMAGES.get(kind)
    if kind.isupper():
        buffer = io.BytesIO()
        photo(random).save(buffer, kind)
        data = buffer.getvalue()
    elif data is None:
        size = random.randint(1, 500)
        data = {"empty": b"", "random bytes": random.randbytes(size), "zeros": bytes(size)}[kind]
    return f"{kind} named {suffix}", suffix, data, WRONG


def lying_size(random):
    """A header that states a huge or an empty image."""
    big = random.choice((0, 60_000, 65_535, 1_000_000, 2**31 - 1))
    kind = random.choice(("png", "gif", "bmp", "tif", "ppm"))
    if kind == "png":
        data = png_header(big, big, random.choice((8, 16)), random.choice((0, 2, 6)))
        return f"PNG of {big} x {big}", kind, data, WRONG
    if kind == "ppm":
        return f"PPM of {big} x {big}", kind, b"P6 %d %d 255\n" % (big, big) + bytes(100), WRONG
    data = bytearray(encoded(random, kind))
    if kind == "gif":
        data[6:10] = struct.pack("<HH", min(big, 65_535), min(big, 65_535))
        return f"GIF of {big} x {big}", kind, bytes(data), WRONG if big else EITHER
    if kind == "bmp":
        data[18:26] = struct.pack("<ii", big, random.choice((1, -1)) * big)
        return f"BMP of {big} x {big}", kind, bytes(data), WRONG
    array = np.zeros((HEIGHT, WIDTH, random.choice((3, 5))), random.choice(("uint8", "uint16")))
    data = tiff(array, photometric="minisblack", planarconfig="contig")
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        tags = [file.pages[0].tags[name] for name in ("ImageWidth", "ImageLength")]
    data = bytearray(data)
    for tag in tags:
        data[tag.offset + 8 : tag.offset + 12] = struct.pack("<I", big)
        data[tag.offset + 2 : tag.offset + 4] = struct.pack("<H", 4)
    return f"TIFF of {big} x {big}", kind, bytes(data), WRONG


def wrong_values(random):
    """Numbers that are no brightness, and numbers of channels that fit no network."""
    dtype, value = random.choice(
        (
            ("float32", np.nan), ("float32", np.inf), ("float32", -np.inf), ("float32", -0.5), ("float32", 1.5),
            ("float64", 1e300), ("float32", 3e38), ("float16", np.nan), ("int16", -3), ("int32", 70_000), ("int8", -1),
            ("uint32", 2**32 - 1), ("complex64", 1j), ("uint8", None),
        )
    )  # fmt: skip
    channels = random.choice((1, 3))
    array = np.zeros((HEIGHT, WIDTH, channels), dtype).squeeze()
    if value is None:
        channels = random.choice((5, 6, 13))
        array = np.zeros((HEIGHT, WIDTH, channels), dtype)
    else:
        array[random.randrange(HEIGHT), random.randrange(WIDTH)] = value
    photometric = "rgb" if channels == 3 and dtype != "complex64" else "minisblack"
    data = tiff(array, photometric=photometric, planarconfig="contig" if array.ndim == 3 else None)
    return f"{dtype} TIFF of {channels} with {value}", "tif", data, WRONG


def odd_size(random):
    """Images of one pixel, one row or one column, and just below the stride of a network."""
    sizes = ((1, 1), (1, 2), (31, 31), (33, 31), (1, 3000), (3000, 1), (7, 200), (32, 32), (32, 2000))
    size = random.choice(sizes)
    suffix = random.choice(("png", "jpg", "tif", "bmp", "webp"))
    return f"{suffix} of {size}", suffix, encoded(random, suffix, size=size), VALID if min(size) >= 32 else EITHER


def exif(random):
    """Orientations that exist and do not, and EXIF blocks of random bytes."""
    suffix = random.choice(("jpg", "png", "webp"))
    if random.random() < 0.5:
        block = Image.Exif()
        block[0x0112] = orientation = random.choice((*range(10), 65_535))
        return f"{suffix} orientation {orientation}", suffix, encoded(random, suffix, exif=block.tobytes()), VALID
    block = b"Exif\0\0" + random.choice((b"II*\0", b"MM\0*", b"")) + random.randbytes(random.randint(0, 80))
    return f"{suffix} with EXIF of random bytes", suffix, encoded(random, suffix, exif=block), EITHER


def animated(random):
    """Several images in one file, of which the first counts."""
    suffix = random.choice(("gif", "webp", "png", "tif"))
    more = [photo(random) for _ in range(2)]
    return f"animated {suffix}", suffix, encoded(random, suffix, save_all=True, append_images=more), VALID


CONTENTS = (
    intact, intact, truncated, truncated, flipped, flipped, other_content, lying_size, wrong_values, odd_size, exif,
    animated,
)  # fmt: skip


def irregular_file(random, folder):
    """(name, path, expected) of a path that is no plain file, or has an odd name."""
    target = folder / "target.png"
    target.write_bytes(encoded(random))
    path = folder / "path.png"
    kind = random.choice(
        (
            "fifo", "folder", "loop", "dangling", "link", "missing", "below a file", "device", "unreadable", "long",
            "empty", "name", "name", "name",
        )
    )  # fmt: skip
    expected = VALID if kind in ("link", "name") else WRONG
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind in ("loop", "dangling", "link"):
        path.symlink_to({"loop": path, "dangling": folder / "gone.png", "link": target}[kind])
    elif kind == "below a file":
        path = target / "below.png"
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "unreadable":
        path.write_bytes(target.read_bytes())
        path.chmod(0)
        expected = EITHER if os.access(path, os.R_OK) else WRONG
    elif kind == "long":
        path = folder / ("x" * random.choice((300, 5000)))
    elif kind == "empty":
        path.touch()
    elif kind == "name":
        name = random.choice(NAMES)
        path = folder / name
        path.write_bytes(target.read_bytes())
        return f"name {name!r}", path, expected
    return kind, path, expected
