"""Reader of COCO's annotation format (Lin et al., 2014): the images of a JSON file and the instances in them.

Described at https://cocodataset.org/#format-data. Masks are drawn by pycocotools, of the ``data`` extra.
"""

from __future__ import annotations

import math
import os
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import numpy as np

from ...utils.optional import require_package
from ...utils.text import shorten
from ..classes import check_class_list
from .json_file import read_json
from .packed import PackedRecords

Annotation = dict[str, Any]


def _is_int(value: Any) -> bool:
    return isinstance(value, int)


def _is_side(value: Any) -> bool:
    return isinstance(value, int) and value > 0


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_box(value: Any) -> bool:
    return (
        isinstance(value, list)
        and len(value) == 4
        and all(isinstance(number, int | float) and math.isfinite(number) for number in value)
    )


# What the records of each table must have.
_FIELDS: dict[str, dict[str, Callable[[Any], bool]]] = {
    "images": {"id": _is_int, "width": _is_side, "height": _is_side},
    "categories": {"id": _is_int, "name": _is_text},
    "annotations": {"image_id": _is_int, "category_id": _is_int, "bbox": _is_box},
}


def _records(content: Any, table: str, file: Path) -> list[Annotation]:
    """Return a table of a COCO JSON file.

    Raises:
        ValueError: it is no list of dicts, or a field that is read is missing or of another type.
    """
    records = content.get(table) if isinstance(content, dict) else None
    if not isinstance(records, list):
        raise ValueError(
            f"COCO annotations must hold images, annotations and categories; {file} does not: it has no list of {table}"
        )
    for record in records:
        for key, is_right in _FIELDS[table].items():
            if not (isinstance(record, dict) and is_right(record.get(key))):
                raise ValueError(
                    f"{table} of COCO annotations must have {key}; in {file} one is {shorten(record, 100)}"
                )
    return records


class Annotations:
    """Annotations of a COCO JSON file.

    Attributes:
        file: the JSON file.
        images: records of the images, in order of id: "file_name", "width", "height", "id".
        names: names of the categories, in order of id.
        category_ids: ids of the categories, in order.

    Raises:
        ValueError: no such file, another format than COCO's, an annotation of an unknown image or category.
    """

    def __init__(self, file: Path):
        require_package("pycocotools", "COCO annotations")
        self.file = file
        content = read_json(file, "COCO annotations")
        self.images = sorted(_records(content, "images", file), key=lambda record: record["id"])
        categories = sorted(_records(content, "categories", file), key=lambda record: record["id"])
        annotations = _records(content, "annotations", file)
        self.names = tuple(record["name"] for record in categories)
        check_class_list(self.names, str(file))
        self.category_ids = tuple(record["id"] for record in categories)
        by_image, categories_of_file = defaultdict(list), set(self.category_ids)
        for annotation in annotations:
            if annotation["category_id"] not in categories_of_file:
                raise ValueError(
                    f"annotations must be of the file's categories; in {file} annotation {annotation.get('id')} has "
                    f"category {annotation['category_id']}"
                )
            by_image[annotation["image_id"]].append(annotation)
        unknown = by_image.keys() - {record["id"] for record in self.images}
        if unknown:
            raise ValueError(f"annotations must be of the file's images; in {file} some are of image {min(unknown)}")
        self._packed = PackedRecords(by_image[record["id"]] for record in self.images)

    def image_files(self, image_dir: str | os.PathLike) -> list[Path]:
        """Return the files of the images, which must lie in this folder.

        Raises:
            ValueError: a ``file_name`` that is no text, absolute, or leads out of the folder.
        """
        names: list[Any] = [record.get("file_name") for record in self.images]
        for name in names:
            if not isinstance(name, str) or any(
                path.drive or path.root or ".." in path.parts or not path.parts
                for path in (PurePosixPath(name), PureWindowsPath(name))
            ):
                raise ValueError(f"file_name must be a path in the folder of the images; {self.file} has {name!r}")
        return [Path(image_dir) / name for name in names]

    def of(self, index: int) -> list[Annotation]:
        """Return the annotations of an image, by its index in ``images``."""
        return self._packed[index]

    def mask(self, annotation: Annotation, index: int) -> np.ndarray:
        """Draw the mask of an annotation, bool (H, W), from polygons or run lengths.

        Args:
            annotation: one of ``of(index)``.
            index: index of its image.

        Raises:
            ValueError: a segmentation that cannot be drawn or has another size than its image.
        """
        from pycocotools import mask as coco_mask

        record = self.images[index]
        segmentation: Any = annotation.get("segmentation")
        height, width = record["height"], record["width"]
        try:
            if isinstance(segmentation, list):
                if not segmentation or min(map(len, segmentation)) < 6:
                    raise ValueError("it is no polygon of three points or more")
                runs = coco_mask.merge(coco_mask.frPyObjects(segmentation, height, width))
            elif isinstance(segmentation["counts"], list):
                runs = coco_mask.frPyObjects(segmentation, height, width)
            else:
                runs = segmentation
            mask = coco_mask.decode(runs).astype(bool)
        except Exception as error:  # pycocotools passes on any error of its C code
            raise ValueError(
                f"segmentations must be polygons or run lengths; that of annotation {annotation.get('id')} in "
                f"{self.file} ({record['file_name']}) cannot be drawn: {error}"
            ) from None
        if mask.shape != (height, width):
            raise ValueError(
                f"run lengths must have the size of their image; annotation {annotation.get('id')} in {self.file} is "
                f"{mask.shape}, {record['file_name']} {(height, width)}"
            )
        return mask
