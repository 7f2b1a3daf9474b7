"""Reader of YOLO's polygons: ``data.yaml`` and, for ``images/.../NAME.jpg``, ``labels/.../NAME.txt``.

``data.yaml`` has ``names`` (a list, or names by number), and ``path``, ``train``, ``val``, ``test``: folders of images,
lists of such, or text files that list images. Without ``train`` the images are those in ``images/``, and its folders
``train`` and ``val`` the splits. A line of a label file is a polygon, ``CLASS X1 Y1 X2 Y2 ...``, in
shares of the image's width and height. An image without a label file has no objects. Described at
https://docs.ultralytics.com/datasets/segment/.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ...utils.optional import require_package
from ...utils.text import first_line, shorten
from ..files.issue import Issue
from ..files.layout import list_files, missing_files
from ..files.pairs import find_files
from .raster import Size, polygon_patch
from .regions import Region, RegionSource, naming
from .source import Entry, split_of

SPLITS = ("train", "val", "test")
_FIX = "export as segmentation"


def find(root: Path) -> str | None:
    """Return the name of the YAML file that lists the names; None if there is none."""
    for file in _yaml_files(root):
        # Without a parser, which is optional: the reader tells what is missing.
        lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
        keys = {line.partition(":")[0] for line in lines}
        if "names" in keys and ("train" in keys or (root / "labels").is_dir()):
            return file.name
    return None


def open_source(root: Path) -> YoloSource:
    """Open the YAML file of a folder and what it lists."""
    for file in _yaml_files(root):
        content = _read_yaml(file)
        if isinstance(content, dict) and "names" in content:
            return YoloSource(root, file, content)
    raise ValueError(f"a YOLO folder must have data.yaml with names; {root} has none")


class YoloSource(RegionSource):
    """Images with YOLO's polygons.

    Args:
        root: the folder.
        file: its YAML file.
        content: what is in it.
    """

    name = "yolo"

    def __init__(self, root: Path, file: Path, content: dict[str, Any]):
        names = _names(content, file)
        entries = []
        for split in SPLITS:
            for place in _as_list(content.get(split), file):
                images = _images(_base(root, file, content.get("path")), place, file)
                entries += [Entry(image, _label_file(image), split) for image in images]
        if not any(content.get(split) for split in SPLITS):
            images = _images(root, "images", file)
            entries = [Entry(image, _label_file(image), split_of(image.parent.name)) for image in images]
        absent = set(missing_files([entry.image for entry in entries]))
        issues = [Issue("missing", image, f"is listed in {file.name} and does not exist") for image in sorted(absent)]
        entries = [entry for entry in entries if entry.image not in absent]
        empty = set(missing_files([entry.key for entry in entries]))
        if entries and len(empty) == len(entries):
            raise ValueError(f"images must have label files, labels/NAME.txt; {file} lists {len(entries)} without one")
        issues += [
            Issue("unlabeled", entry.image, f"has no {entry.key.name}, so it counts as an image without objects", False)
            for entry in entries
            if entry.key in empty
        ]
        super().__init__(root, names, entries, issues, where=file)
        self.annotation_files = (file,)

    def regions(self, key: Path, size: Size) -> Iterator[Region]:
        """Yield the polygons of a label file."""
        try:
            lines = key.read_text(encoding="utf-8-sig").splitlines() if os.path.lexists(key) else []
        except (OSError, UnicodeDecodeError) as error:
            raise ValueError(f"YOLO labels must be text; {key} cannot be read: {first_line(error)}") from None
        for number, line in enumerate(lines, start=1):
            if line.strip():
                with naming(f"{key}, line {number}"):
                    k, points = _polygon(line, len(self.labels))
                    patch = polygon_patch([points * size[::-1]], size)
                yield Region(self.labels[k], patch)


def _yaml_files(root: Path) -> list[Path]:
    return list_files(root, (".yaml", ".yml")) if os.path.isdir(root) else []


def _read_yaml(file: Path) -> Any:
    yaml = require_package("yaml", str(file))
    try:
        return yaml.safe_load(file.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        raise ValueError(f"{file} must be YAML; it cannot be read: {first_line(error)}") from None


def _names(content: dict[str, Any], file: Path) -> list[str]:
    names = content["names"]
    if isinstance(names, dict):
        if sorted(names, key=str) != sorted(range(len(names)), key=str):
            raise ValueError(f"names must be numbered 0, 1, 2, ...; in {file} they are {shorten(list(names))}")
        names = [names[k] for k in range(len(names))]
    if not (isinstance(names, list) and names and all(isinstance(name, str | int) for name in names)):
        raise ValueError(f"names must be a list of the classes; in {file} it is {shorten(names)}")
    if (count := content.get("nc", len(names))) != len(names):
        raise ValueError(f"nc must be the number of names; in {file} it is {shorten(count)}, of {len(names)} names")
    return [str(name) for name in names]


def _as_list(value: Any, file: Path) -> list[str]:
    places = [] if value is None or value == "" else value if isinstance(value, list) else [value]
    if not all(isinstance(place, str) for place in places):
        raise ValueError(f"train, val and test must be folders or lists of images; in {file} one is {shorten(value)}")
    return places


def _base(root: Path, file: Path, stated: Any) -> Path:
    """Return the folder to which the places are relative: ``path`` if there is such a folder."""
    if stated is None:
        return file.parent
    # Often a place on the machine on which the file was written.
    place = file.parent / str(stated)
    return place if os.path.isdir(place) else root


def _images(base: Path, place: str, file: Path) -> list[Path]:
    """Return the images of a folder or a list.

    Raises:
        ValueError: there is no such folder or list.
    """
    path = base / place
    if not path.exists() and place.startswith("../"):  # Roboflow's, of a folder that lies beside the file
        path = base / place.removeprefix("../")
    path = Path(os.path.normpath(path))
    if path.is_dir():
        return [match.path for match in find_files(path, "**/*")]
    if path.suffix == ".txt" and path.is_file():
        lines = (line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines())
        return [Path(os.path.normpath(path.parent / line)) for line in lines if line]
    raise ValueError(
        f"train, val and test must be folders of images or lists of them; {file} has {place!r}: {path} is none"
    )


def _label_file(image: Path) -> Path:
    """Return the label file of an image: the last folder "images" in its path becomes "labels"."""
    parts = list(image.parts)
    if "images" in parts[:-1]:
        parts[len(parts) - 2 - parts[-2::-1].index("images")] = "labels"
    return Path(*parts).with_suffix(".txt")


def _polygon(line: str, count: int) -> tuple[int, np.ndarray]:
    """Return class and points of a line, in shares of the image.

    Raises:
        ValueError: anything but a class and a polygon.
    """
    try:
        k, *numbers = (float(word) for word in line.split())
    except ValueError:
        raise ValueError(f"a line must be CLASS X1 Y1 X2 Y2 ...; it is {shorten(line)}") from None
    if k not in range(count):
        raise ValueError(f"a class must be in 0 .. {count - 1}; it is {k:g}: add its name to data.yaml")
    if len(numbers) == 4:
        raise ValueError("a line must be a polygon; it is a box of 4 numbers, from which no mask follows: " + _FIX)
    if len(numbers) % 2 or len(numbers) < 6:
        raise ValueError(f"a polygon must have three pairs of numbers or more; it has {len(numbers)} numbers")
    return int(k), np.array(numbers).reshape(-1, 2)
