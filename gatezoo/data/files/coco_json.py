"""COCO's annotation format (Lin et al., 2014): what a JSON file says of its images and the objects in them.

Described at https://cocodataset.org/#format-data. Drawing is pycocotools', of the ``data`` extra.
"""

from __future__ import annotations

import json
import pickle
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np

from ...utils.optional import require_package

Annotation = dict[str, Any]


class Annotations:
    """What a COCO JSON file says of its images.

    The annotations lie pickled in one array: as Python objects each worker of a loader would come to own a copy.

    Attributes:
        file: the JSON file.
        images: records of the images, in order of id: "file_name", "width", "height", "id".
        names: of the categories, in order of id.
        category_ids: their ids.

    Raises:
        ValueError: no such file, not COCO's format, an annotation of an unknown image or category.
    """

    def __init__(self, file: Path):
        require_package("pycocotools", "COCO annotations")
        self.file = file
        try:
            content = json.loads(file.read_text(encoding="utf-8"))
            self.images = sorted(content["images"], key=lambda record: record["id"])
            categories = sorted(content["categories"], key=lambda record: record["id"])
            annotations = content["annotations"]
        except FileNotFoundError:
            raise ValueError(f"COCO annotations must be a JSON file; there is none at {file}") from None
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(
                f"COCO annotations must hold images, annotations and categories; {file} does not: {error!r}"
            ) from None
        self.names = tuple(record["name"] for record in categories)
        self.category_ids = tuple(record["id"] for record in categories)
        by_image = defaultdict(list)
        known = set(self.category_ids)
        for annotation in annotations:
            if annotation["category_id"] not in known:
                raise ValueError(
                    f"annotations must be of the file's categories; in {file} annotation {annotation['id']} has "
                    f"category {annotation['category_id']}"
                )
            by_image[annotation["image_id"]].append(annotation)
        strange = by_image.keys() - {record["id"] for record in self.images}
        if strange:
            raise ValueError(f"annotations must be of the file's images; in {file} some are of image {min(strange)}")
        packed = [pickle.dumps(by_image[record["id"]]) for record in self.images]
        self._ends = np.cumsum([0] + [len(item) for item in packed])
        self._packed = np.frombuffer(b"".join(packed), dtype=np.uint8)

    def of(self, index: int) -> list[Annotation]:
        """Annotations of a image, by its place in ``images``."""
        return pickle.loads(self._packed[self._ends[index] : self._ends[index + 1]].tobytes())

    def mask(self, annotation: Annotation, index: int) -> np.ndarray:
        """Polygons or run lengths -> bool (H, W) at the image's size, drawn by pycocotools."""
        from pycocotools import mask as drawing

        record, shape = self.images[index], annotation.get("segmentation")
        height, width = record["height"], record["width"]
        try:
            if isinstance(shape, list):
                if not shape or min(map(len, shape)) < 6:
                    raise ValueError("it is no polygon of three points or more")
                runs = drawing.merge(drawing.frPyObjects(shape, height, width))
            else:
                runs = drawing.frPyObjects(shape, height, width) if isinstance(shape["counts"], list) else shape
            mask = drawing.decode(runs).astype(bool)
        except Exception as error:  # pycocotools raises whatever its C code met
            raise ValueError(
                f"segmentations must be polygons or run lengths; that of annotation {annotation['id']} in {self.file} "
                f"({record['file_name']}) cannot be drawn: {error}"
            ) from None
        if mask.shape != (height, width):
            raise ValueError(
                f"run lengths must have the size of their image; annotation {annotation['id']} in {self.file} is "
                f"{mask.shape}, {record['file_name']} {(height, width)}"
            )
        return mask
