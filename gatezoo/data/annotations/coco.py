"""Reader of COCO JSON files of any categories: polygons and run lengths, drawn as classes or as instances.

JSON files with images, annotations and categories, in the folder or in ``annotations/``, and the images beside them,
in ``images/``, or in a folder with the name of the split. Several files are the splits that their names tell:
``instances_train2017.json``, ``val.json``, ``train/_annotations.coco.json``. Described at
https://cocodataset.org/#format-data.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ..files.coco_json import Annotations
from ..files.issue import Issue
from ..files.layout import list_files, missing_files
from .raster import Patch, Size, mask_patch, polygon_patch
from .regions import Region, RegionSource, check_stated_size, naming
from .source import Entry, split_of

_TABLES = (b'"images"', b'"annotations"', b'"categories"')
# Bytes at the start of a labelme file in which its shapes are named.
_START = 1 << 16


def find(root: Path) -> str | None:
    """Return what shows that a folder holds COCO's files; None if nothing does."""
    files = [file for file in _json_files(root) if _is_coco(file)]
    return ", ".join(str(file.relative_to(root)) for file in files) or None


def open_source(root: Path) -> CocoSource:
    """Open the JSON files of a folder."""
    return CocoSource(root, [file for file in _json_files(root) if _is_coco(file)])


class CocoSource(RegionSource):
    """Images with COCO's annotations.

    Args:
        root: the folder.
        files: JSON files in it, all with the same categories.
    """

    name = "coco"

    def __init__(self, root: Path, files: Sequence[Path]):
        if not files:
            raise ValueError(f"COCO data must have JSON files with images, annotations and categories; {root} has none")
        self._contents = {file: Annotations(file) for file in files}
        first, *others = self._contents.values()
        for other in others:
            if (other.names, other.category_ids) != (first.names, first.category_ids):
                raise ValueError(
                    f"the files of a data set must have the same categories; {other.file} has others than {first.file}"
                )
        entries, issues = [], []
        for file, content in self._contents.items():
            split = (split_of(file.stem) or split_of(file.parent.name)) if others else ""
            images = content.image_files(_image_folder(root, file, content))
            absent = set(missing_files(images))
            for index, image in enumerate(images):
                if image in absent:
                    issues.append(Issue("missing", file, f"its image {image} does not exist"))
                else:
                    entries.append(Entry(image, file / str(index), split))
        super().__init__(root, first.names, entries, issues, where=files[0])
        self.annotation_files = tuple(files)

    def regions(self, key: Path, size: Size) -> Iterator[Region]:
        """Yield the annotations of an image, crowds first."""
        content, index = self._contents[key.parent], int(key.name)
        record = content.images[index]
        check_stated_size((record["height"], record["width"]), size, key)
        label_of = dict(zip(content.category_ids, content.names))
        found = content.of(index)
        for annotation in sorted(found, key=lambda annotation: not _is_crowd(annotation)):
            patch = _draw(annotation, content, index, size)
            yield Region(label_of[annotation["category_id"]], patch, crowd=_is_crowd(annotation))


def _json_files(root: Path) -> list[Path]:
    if not os.path.isdir(root):
        return []
    folders = [root, *sorted(path for path in root.iterdir() if path.is_dir() and path.name[0] != ".")]
    return [file for folder in folders for file in list_files(folder, (".json",))]


def _is_coco(file: Path) -> bool:
    """Return whether a file names COCO's tables, wherever they are in it, and is not labelme's."""
    try:
        with file.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as text:
            return text.find(b'"shapes"', 0, _START) < 0 and all(text.find(name) >= 0 for name in _TABLES)
    except (OSError, ValueError):  # an empty file cannot be mapped
        return False


def _is_crowd(annotation: dict[str, Any]) -> bool:
    return annotation.get("iscrowd") in (1, True)


def _image_folder(root: Path, file: Path, content: Annotations) -> Path:
    """Return the folder that holds the first image; the first candidate if none does."""
    split = file.stem.removeprefix("instances_").removeprefix("_annotations.")
    folders = [root / split, file.parent, root / "images" / split, root / "images", root]
    if name := split_of(split) or split_of(file.parent.name):
        folders += [root / name, root / "images" / name]
    folders.sort(key=lambda folder: not folder.is_dir())
    for folder in folders:
        if content.images and all(image.is_file() for image in content.image_files(folder)[:1]):
            return folder
    return folders[0]


def _draw(annotation: dict[str, Any], content: Annotations, index: int, size: Size) -> Patch:
    """Draw an annotation. Of polygons only the part of the image that they cover is drawn."""
    segmentation = annotation.get("segmentation")
    with naming(f"{content.file}, annotation {annotation.get('id')}"):
        if isinstance(segmentation, list) and segmentation and all(isinstance(part, list) for part in segmentation):
            if any(len(part) % 2 for part in segmentation):
                raise ValueError("polygons must be pairs of numbers; one has an odd number of them")
            return polygon_patch([list(zip(part[::2], part[1::2])) for part in segmentation], size)
        return mask_patch(content.mask(annotation, index), 0, 0, size)
