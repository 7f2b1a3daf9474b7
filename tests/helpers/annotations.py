"""Small folders of annotated images in several formats, to be edited by tests."""

import json

import numpy as np
from PIL import Image

SIZE = 48, 64
SQUARE = [(8, 8), (24, 8), (24, 24), (8, 24)]
TRIANGLE = [(30.0, 10.0), (60.0, 10.0), (60.0, 40.0)]


def image(path, number=0):
    """Write an image with a bright square and a dark triangle, as the annotations say."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(number).integers(90, 110, (*SIZE, 3))
    pixels[8:24, 8:24] += 100
    y, x = np.mgrid[: SIZE[0], : SIZE[1]] + 0.5
    pixels[(x < 60) & (y > 10) & (y - 10 < x - 30)] -= 80
    Image.fromarray(pixels.astype(np.uint8)).save(path)


def labelme(root, count=6):
    """N.png and N.json, with shapes of the labels "cell" and "wall"."""
    for number in range(count):
        image(root / f"{number}.png", number)
        shapes = [
            {"label": label, "points": points, "shape_type": "polygon", "group_id": None, "flags": {}, "mask": None}
            for label, points in (("cell", SQUARE), ("wall", TRIANGLE))
        ]
        content = {"version": "6.3.1", "flags": {}, "shapes": shapes, "imagePath": f"{number}.png", "imageData": None}
        (root / f"{number}.json").write_text(json.dumps(content | {"imageHeight": SIZE[0], "imageWidth": SIZE[1]}))
    return root


def yolo(root, count=6):
    """data.yaml, and images and labels in the folders train and val."""
    for number in range(count):
        part = "val" if number % 3 == 2 else "train"
        image(root / part / "images" / f"{number}.png", number)
        (root / part / "labels").mkdir(exist_ok=True)
        lines = [
            f"{k} " + " ".join(f"{x / SIZE[1]:.6f} {y / SIZE[0]:.6f}" for x, y in points)
            for k, points in enumerate((SQUARE, TRIANGLE))
        ]
        (root / part / "labels" / f"{number}.txt").write_text("\n".join(lines) + "\n")
    (root / "data.yaml").write_text("train: ../train/images\nval: ../val/images\nnc: 2\nnames: [cell, wall]\n")
    return root


def coco(root, count=6):
    """annotations.json and images/N.png; in each image a crowd, as run lengths, comes last."""
    annotations = []
    for number in range(count):
        image(root / "images" / f"{number}.png", number)
        for k, points in ((3, SQUARE), (8, TRIANGLE)):
            flat = [float(value) for point in points for value in point]
            annotations.append({"image_id": number, "category_id": k, "segmentation": [flat], "bbox": [8, 8, 52, 32]})
        crowd = {"size": list(SIZE), "counts": [0, SIZE[0] * 12, SIZE[0] * 52]}  # columns 0 .. 11
        annotations.append(
            {"image_id": number, "category_id": 8, "segmentation": crowd, "bbox": [0, 0, 12, 48], "iscrowd": 1}
        )
    annotations = [{"id": k, "iscrowd": 0} | annotation for k, annotation in enumerate(annotations)]
    images = [{"id": k, "file_name": f"{k}.png", "height": SIZE[0], "width": SIZE[1]} for k in range(count)]
    categories = [{"id": 8, "name": "wall"}, {"id": 3, "name": "cell"}]
    content = {"images": images, "annotations": annotations, "categories": categories}
    (root / "annotations.json").write_text(json.dumps(content))
    return root


def cvat(root, count=6):
    """annotations.xml and images/N.png, with the label "cell" in red and "wall" in blue."""
    shapes = "".join(
        f'<polygon label="{label}" z_order="0" points="{";".join(f"{x},{y}" for x, y in points)}"/>'
        for label, points in (("cell", SQUARE), ("wall", TRIANGLE))
    )
    images = []
    for number in range(count):
        image(root / "images" / f"{number}.png", number)
        images.append(
            f'<image id="{number}" name="{number}.png" width="{SIZE[1]}" height="{SIZE[0]}">{shapes}'
            '<tag label="cell"/></image>'
        )
    labels = "".join(
        f"<label><name>{name}</name><color>{color}</color><type>any</type></label>"
        for name, color in (("cell", "#ff0000"), ("wall", "#0000ff"))
    )
    meta = f"<meta><task><labels>{labels}</labels></task></meta>"
    (root / "annotations.xml").write_text(f"<annotations><version>1.1</version>{meta}{''.join(images)}</annotations>")
    return root


def numbered(root, count=6):
    """images/N.png and instances/N.png of 16 bits: the square is 300, the triangle 2."""
    for number in range(count):
        image(root / "images" / f"{number}.png", number)
        (root / "instances").mkdir(exist_ok=True)
        Image.fromarray(numbers()).save(root / "instances" / f"{number}.png")
    return root


def numbers():
    """The instance map of each image."""
    y, x = np.mgrid[: SIZE[0], : SIZE[1]] + 0.5
    found = np.where((x < 60) & (y > 10) & (y - 10 < x - 30), 2, 0).astype(np.uint16)
    found[8:24, 8:24] = 300
    return found


WRITERS = {"labelme": labelme, "yolo": yolo, "coco": coco, "cvat": cvat}
