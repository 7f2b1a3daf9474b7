"""Reader of labelme: a JSON file for each image, beside it or anywhere in the folder.

``{"shapes": [{"label", "points", "shape_type", "group_id", "mask"}, ...], "imagePath", "imageHeight", "imageWidth"}``.
Splits: the folders ``train`` and ``val``, if there are any. The image is the file at ``imagePath``, else that of the
same name in ``images/``, else the one beside the JSON file with its stem. Shapes of one label and ``group_id`` are one
instance. ``flags`` are not read. Written by https://github.com/wkentaro/labelme.
"""

from __future__ import annotations

import base64
import io
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path, PureWindowsPath
from typing import Any

import numpy as np
from PIL import Image

from ...utils.images import IMAGE_SUFFIXES
from ...utils.parallel import parallel_map
from ...utils.text import shorten
from ..files.issue import Issue
from ..files.json_file import read_json
from ..files.layout import list_files
from ..files.pairs import find_files
from .raster import Patch, Size, check_points, ellipse_patch, mask_patch, polygon_patch, rectangle_points
from .regions import Region, RegionSource, check_stated_size, naming
from .source import BACKGROUND, IGNORED, Entry, plain_label, split_of

# An image of the largest size in it, as base64.
MAX_BYTES = 1 << 29

WHAT = "labelme annotations"
_POLYGONS = ("polygon", "oriented_rectangle", None)


def find(root: Path) -> str | None:
    """Return what shows that a folder holds labelme's files; None if nothing does."""
    files = _json_files(root)
    # Of thousands of files the first that can be read tells.
    for file in files:
        try:
            content = read_json(file, WHAT, MAX_BYTES)
        except ValueError:
            continue
        return f"{len(files)} files" if _is_labelme(content) else None
    return None


def open_source(root: Path) -> LabelmeSource:
    """Open the labelme files of a folder."""
    return LabelmeSource(root)


class LabelmeSource(RegionSource):
    """Images annotated with labelme. Labels are in order of the alphabet, a background first."""

    name = "labelme"

    def __init__(self, root: Path):
        entries, issues, labels, images = [], [], set(), Counter[Path]()
        for file, content in parallel_map(_summary, _json_files(root)):
            if isinstance(content, ValueError):
                issues.append(Issue("unreadable", file, str(content).replace(str(file), "this file")))
                continue
            if content is None:  # of another program
                continue
            image, found = content
            labels |= found
            images[image] += 1
            if not image.is_file():
                issues.append(Issue("missing", file, f"its image {image} does not exist: fix imagePath, or add it"))
            elif images[image] > 1:
                issues.append(Issue("twice", file, f"another file annotates the image {image}, too: remove one"))
            else:
                entries.append(
                    Entry(image, file, split_of(file.relative_to(root).parts[0]) if file.parent != root else "")
                )
        issues += [
            Issue("unlabeled", image, "has no annotations and is left out", False)
            for folder in sorted({image.parent for image in images if image.parent.is_dir()})
            for image in list_files(folder, IMAGE_SUFFIXES)
            if image not in images
        ]
        names = sorted(
            {plain_label(label) for label in labels} - {IGNORED}, key=lambda name: (name != BACKGROUND, name)
        )
        super().__init__(root, names, entries, issues)

    def regions(self, key: Path, size: Size) -> Iterator[Region]:
        """Yield the shapes of a file."""
        content = _read(key)
        stated = content.get("imageHeight"), content.get("imageWidth")
        if None not in stated:
            check_stated_size(stated, size, key)
        for number, shape in enumerate(content["shapes"], start=1):
            with naming(f"{key}, shape {number} ({shorten(shape['label'], 40)})"):
                patch = _draw(shape, size)
            yield Region(shape["label"], patch, shape.get("group_id"))


def _json_files(root: Path) -> list[Path]:
    return [match.path for match in find_files(root, "**/*.json")] if os.path.isdir(root) else []


def _is_labelme(content: Any) -> bool:
    return isinstance(content, dict) and "shapes" in content and "imagePath" in content


def _read(file: Path) -> dict[str, Any]:
    """Return the content of a file.

    Raises:
        ValueError: it is not what labelme writes.
    """
    content = read_json(file, WHAT, MAX_BYTES)
    if not _is_labelme(content):
        raise ValueError(f"{WHAT} must have shapes and imagePath; {file} has not")
    shapes = content["shapes"]
    if not (isinstance(content["imagePath"], str) and isinstance(shapes, list)):
        raise ValueError(f"{WHAT} must have a list of shapes and a text as imagePath; {file} has others")
    for shape in shapes:
        is_right = isinstance(shape, dict) and isinstance(shape.get("label"), str) and "points" in shape
        if not (is_right and isinstance(shape.get("group_id"), int | None)):
            raise ValueError(
                f"shapes of {WHAT} must have label, points and group_id; in {file} one is {shorten(shape, 100)}"
            )
    return content


def _summary(file: Path) -> tuple[Path, tuple[Path, set[str]] | ValueError | None]:
    """Return a file with its image and its labels; with None if it is of another program, or with its error."""
    try:
        if not _is_labelme(read_json(file, WHAT, MAX_BYTES)):
            return file, None
        content = _read(file)
    except ValueError as error:
        return file, error
    return file, (_image_of(file, content["imagePath"]), {shape["label"] for shape in content["shapes"]})


def _image_of(file: Path, stated: str) -> Path:
    """Return the image of a file; the stated one if there is none."""
    name = PureWindowsPath(stated)
    path = Path(os.path.normpath(file.parent / name.as_posix()))
    # supervision writes the images into a folder beside that of the files.
    others = [folder / "images" / name.name for folder in (file.parent.parent, file.parent)]
    others += [file.with_suffix(suffix) for suffix in IMAGE_SUFFIXES]
    return next((found for found in (path, *others) if os.path.isfile(found)), path)


def _draw(shape: dict[str, Any], size: Size) -> Patch:
    """Draw a shape.

    Raises:
        ValueError: a kind without an area, wrong points, or a mask that is none.
    """
    kind = shape.get("shape_type")
    if kind in _POLYGONS:
        return polygon_patch([shape["points"]], size)
    if kind not in ("rectangle", "circle", "mask"):
        raise ValueError(f"a {shorten(kind)} has no area: draw it as a polygon, or remove it")
    points = check_points(shape["points"], size, least=2)
    if len(points) != 2:
        raise ValueError(f"a {kind} must have 2 points; it has {len(points)}")
    if kind == "rectangle":
        return polygon_patch([rectangle_points(points)], size)
    if kind == "circle":
        radius = float(np.hypot(*(points[1] - points[0])))
        return ellipse_patch(points[0], (radius, radius), size)
    # Both corners are pixels of the mask.
    (left, top), (right, bottom) = points.astype(int).tolist()
    mask = _decode_mask(shape.get("mask"))
    if mask.shape != (bottom - top + 1, right - left + 1):
        raise ValueError(f"a mask must have the size that its points give; it is {mask.shape[1]} x {mask.shape[0]}")
    return mask_patch(mask, top, left, size)


def _decode_mask(text: Any) -> np.ndarray:
    """Decode a PNG in base64."""
    try:
        with Image.open(io.BytesIO(base64.b64decode(text, validate=True)), formats=("PNG",)) as image:
            return np.array(image.convert("L")) > 0
    except Exception:  # decoders raise errors of any kind
        raise ValueError("a mask must be a PNG in base64; it is not") from None
