"""Reader of "CVAT for images 1.1": ``annotations.xml`` and the images in ``images/``, or beside the file.

Polygons, boxes, ellipses and masks, drawn in the order of ``z_order`` and then of the file. Shapes of one label and
``group_id`` are one instance; tags are not read. Labels, their order and colors are those of the task or the project.
Splits are the subsets of a project, or several files such as ``train.xml`` and ``val.xml``. Described at
https://docs.cvat.ai/docs/dataset_management/formats/format-cvat/.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np

from ...utils.text import first_line, shorten
from ..files.issue import Issue
from ..files.labels import Color
from ..files.layout import list_files
from ..files.packed import PackedRecords
from .raster import Patch, Size, check_points, ellipse_patch, mask_patch, polygon_patch, rectangle_points, runs_mask
from .regions import Region, RegionSource, check_stated_size, naming
from .source import Entry, split_of

_WITH_AREA = ("polygon", "box", "ellipse", "mask")
_WITHOUT_AREA = ("polyline", "points", "cuboid", "skeleton")

Attributes = dict[str, str]


def find(root: Path) -> str | None:
    """Return the names of CVAT's files in a folder; None if there are none."""
    files = [file for file in _xml_files(root) if _is_cvat(file)]
    return ", ".join(file.name for file in files) or None


def open_source(root: Path) -> CvatSource:
    """Open CVAT's files of a folder."""
    return CvatSource(root)


class CvatSource(RegionSource):
    """Images annotated with CVAT."""

    name = "cvat"

    def __init__(self, root: Path):
        files = [file for file in _xml_files(root) if _is_cvat(file)]
        if not files:
            raise ValueError(f"CVAT data must have annotations.xml with images; {root} has no such file")
        entries, issues = [], []
        records: list[tuple[Attributes, list[tuple[str, Attributes]]]] = []
        labels: dict[str, Color | None] = {}
        for file in files:
            found_labels, images = _read(file)
            labels |= found_labels
            for attributes, shapes in images:
                image = _image_of(root, file, attributes)
                if not image.is_file():
                    issues.append(Issue("missing", file, f"its image {image} does not exist"))
                    continue
                split = split_of(attributes.get("subset", "")) or (split_of(file.stem) if len(files) > 1 else "")
                entries.append(Entry(image, file / str(len(records)), split))
                records.append((attributes, shapes))
        colors = {name: color for name, color in labels.items() if color}
        super().__init__(root, tuple(labels), entries, issues, colors, where=files[0])
        self._records = PackedRecords(records)
        self.annotation_files = tuple(files)

    def regions(self, key: Path, size: Size) -> Iterator[Region]:
        """Yield the shapes of an image, those of the smallest ``z_order`` first."""
        attributes, shapes = self._records[int(key.name)]
        where = f"{key.parent}, image {shorten(attributes.get('name'))}"
        with naming(where):
            check_stated_size((_whole(attributes, "height"), _whole(attributes, "width")), size, key)
            shapes = sorted(shapes, key=lambda shape: _whole(shape[1], "z_order", 0))
        for kind, shape in shapes:
            with naming(f"{where}, {kind} ({shorten(shape.get('label'), 40)})"):
                if "label" not in shape:
                    raise ValueError("a shape must have a label")
                patch = _draw(kind, shape, size)
            yield Region(shape["label"], patch, shape.get("group_id"))


def _xml_files(root: Path) -> list[Path]:
    folders = (root, root / "annotations")
    return [file for folder in folders if os.path.isdir(folder) for file in list_files(folder, (".xml",))]


def _is_cvat(file: Path) -> bool:
    """Return whether the outermost element of a file is that of CVAT."""
    try:
        return next(ElementTree.iterparse(file, events=("start",)))[1].tag == "annotations"
    except (OSError, ElementTree.ParseError, StopIteration):
        return file.stem == "annotations"  # the reader tells what is wrong


def _read(file: Path) -> tuple[dict[str, Color | None], list[tuple[Attributes, list[tuple[str, Attributes]]]]]:
    """Return the labels with their colors, and each image with its shapes, as their attributes.

    Raises:
        ValueError: no XML, no labels, a label twice, or the tracks of a video.
    """
    labels: dict[str, Color | None] = {}
    images: list[tuple[Attributes, list[tuple[str, Attributes]]]] = []
    try:
        for _, element in ElementTree.iterparse(file):
            if element.tag == "label" and element.findtext("type") != "tag" and element.find("parent") is None:
                name = (element.findtext("name") or "").strip()
                if name in labels:
                    raise ValueError(f"labels must differ; {file} has {shorten(name)} twice")
                labels[name] = _color(element.findtext("color"))
            elif element.tag == "track":
                raise ValueError(f"annotations must be of images; {file} has tracks: export 'CVAT for images 1.1'")
            elif element.tag == "image":
                shapes = [
                    (child.tag, dict(child.attrib)) for child in element if child.tag in _WITH_AREA + _WITHOUT_AREA
                ]
                images.append((dict(element.attrib), shapes))
                element.clear()
    except (OSError, ElementTree.ParseError) as error:
        raise ValueError(f"CVAT annotations must be XML; {file} cannot be read: {first_line(error)}") from None
    if not labels:
        raise ValueError(f"CVAT annotations must list their labels in <meta>; {file} lists none")
    return labels, images


def _color(text: str | None) -> Color | None:
    """Return the color "#rrggbb"; None for anything else."""
    try:
        red, green, blue = bytes.fromhex((text or "").strip().removeprefix("#"))
    except ValueError:
        return None
    return red, green, blue


def _image_of(root: Path, file: Path, attributes: Attributes) -> Path:
    """Return the file of an image; the first candidate if none exists."""
    name, subset = attributes.get("name", ""), attributes.get("subset", "")
    folders = [root / "images", root, file.parent, root / "images" / file.stem]
    if subset:
        folders = [root / "images" / subset, root / subset, *folders]
    paths = [folder / name for folder in folders]
    return next((path for path in paths if path.is_file()), paths[0])


def _number(shape: Mapping[str, str], name: str, default: float | None = None) -> float:
    """Return a number of a shape."""
    text: Any = shape.get(name, default)
    try:
        return float(text)
    except (TypeError, ValueError):
        raise ValueError(f"{name} must be a number; it is {shorten(text)}") from None


def _whole(shape: Mapping[str, str], name: str, default: float | None = None) -> int:
    """Return a whole number of a shape."""
    number = _number(shape, name, default)
    if not (number.is_integer() and abs(number) < 1 << 31):
        raise ValueError(f"{name} must be a whole number; it is {shorten(shape.get(name))}")
    return int(number)


def _draw(kind: str, shape: Attributes, size: Size) -> Patch:
    """Draw a shape.

    Raises:
        ValueError: a kind without an area, or wrong attributes.
    """
    if kind in _WITHOUT_AREA:
        raise ValueError(f"a {kind} has no area: draw it as a polygon, or remove it")
    degrees = _number(shape, "rotation", 0.0)
    if kind == "polygon":
        return polygon_patch([[pair.split(",") for pair in shape.get("points", "").split(";")]], size)
    if kind == "ellipse":
        center, radii = ([_number(shape, name) for name in names] for names in (("cx", "cy"), ("rx", "ry")))
        return ellipse_patch(center, radii, size, degrees)
    if kind == "box":
        corners = [_number(shape, name) for name in ("xtl", "ytl", "xbr", "ybr")]
        points = check_points([corners[:2], corners[2:]], size, least=2)
        return polygon_patch([rectangle_points(points, degrees)], size)
    left, top, width, height = (_whole(shape, name) for name in ("left", "top", "width", "height"))
    if not (0 < width <= 2 * size[1] and 0 < height <= 2 * size[0]):
        raise ValueError(f"a mask must have a size within the image; it is {width} x {height}")
    try:
        counts = np.array(shape.get("rle", "").split(","), dtype=np.int64)
    except (ValueError, OverflowError):
        raise ValueError("rle must be whole numbers with commas between them") from None
    return mask_patch(runs_mask(counts, height, width), top, left, size)
