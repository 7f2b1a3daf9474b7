"""Reader of COCO (Lin et al., 2014), and of any data set in its format, as instances or as semantic masks.

Layout: ``annotations/instances_SPLIT.json`` (or ``instances_SPLIT.json``) and the images in ``SPLIT/``, with the
splits "train2017" and "val2017" of the publishers, or any others. Category ids have gaps (COCO: 80
categories in 1 .. 90); classes follow them in order. Described at https://cocodataset.org/#format-data.
License of COCO: images under Flickr's terms, annotations CC BY 4.0.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import Dataset
from torchvision import tv_tensors

from ...utils.images import load_image
from ...utils.palette import voc_palette
from ..base import Sample, SegmentationDataset
from ..files.coco_json import Annotations
from ..files.layout import check_files_exist, check_layout

Transform = Callable[[Sample], Sample]


class CocoInstances(Dataset):
    """Data set of the instances of a COCO JSON file.

    An item: "image" uint8 (3, H, W); "boxes" ``tv_tensors.BoundingBoxes`` float (N, 4), XYXY; "labels" int64 (N),
    1 .. K in order of category id, as 0 is the detectors' background; "masks" ``tv_tensors.Mask`` bool (N, H, W);
    "image_id"; "iscrowd" int64 (N), 1 for a crowd, which covers several instances and does not count in an evaluation;
    :func:`~gatezoo.data.instances.detection_collate` leaves it out of training.
    Left out: boxes without area, instances whose mask has no pixel. An image without instances is kept, with N = 0.

    Args:
        annotations: the JSON file.
        image_dir: folder of the images.
        transform: joint transform of an item.

    Attributes:
        classes: "background" and the K categories; ``num_classes`` is K + 1.
        category_ids: COCO's id of each class, 0 for the background.
    """

    def __init__(
        self,
        annotations: str | os.PathLike,
        image_dir: str | os.PathLike,
        transform: Transform | None = None,
    ):
        self.annotations = Annotations(Path(annotations))
        self.images = self.annotations.image_files(image_dir)
        check_files_exist(f"the images of {annotations}", self.images)
        self.classes = ("background", *self.annotations.names)
        self.num_classes = len(self.classes)
        self.category_ids = (0, *self.annotations.category_ids)
        self.palette = tuple(voc_palette(self.num_classes))
        self.transform = transform
        # Index of each image in the annotations.
        self._indices = list(range(len(self.images)))

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Sample:
        path, image_index = self.images[index], self._indices[index]
        image = tv_tensors.Image(load_image(path))
        height, width = image.shape[-2:]
        record = self.annotations.images[image_index]
        if (record["height"], record["width"]) != (height, width):
            raise ValueError(
                f"images must have the size that the annotations give; {path} is {(height, width)}, "
                f"in {self.annotations.file} {(record['height'], record['width'])}"
            )
        boxes, labels, masks, crowds = [], [], [], []
        for annotation in self.annotations.of(image_index):
            x, y, w, h = annotation["bbox"]
            box = [max(x, 0.0), max(y, 0.0), min(x + w, width), min(y + h, height)]
            if box[0] >= box[2] or box[1] >= box[3]:
                continue
            mask = self.annotations.mask(annotation, image_index)
            if mask.any():
                boxes.append(box)
                labels.append(self.category_ids.index(annotation["category_id"], 1))
                masks.append(torch.from_numpy(mask))
                crowds.append(annotation.get("iscrowd") in (1, True))
        corners = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)
        sample = {
            "image": image,
            "boxes": tv_tensors.BoundingBoxes(corners, format="XYXY", canvas_size=(height, width)),
            "labels": torch.tensor(labels, dtype=torch.int64),
            "masks": tv_tensors.Mask(torch.stack(masks) if masks else torch.zeros(0, height, width, dtype=torch.bool)),
            "iscrowd": torch.tensor(crowds, dtype=torch.int64),
            "image_id": record["id"],
        }
        return self.transform(sample) if self.transform else sample

    def classes_of(self, index: int) -> set[int]:
        """Return the classes of an image's instances, crowds left out, without reading the image."""
        found = self.annotations.of(self._indices[index])
        return {
            self.category_ids.index(item["category_id"], 1) for item in found if item.get("iscrowd") not in (1, True)
        }

    def subset(self, indices: Iterable[int]) -> CocoInstances:
        """Return the data set of these images only, in this order."""
        part, indices = copy.copy(self), list(indices)
        part.images = [self.images[i] for i in indices]
        part._indices = [self._indices[i] for i in indices]
        return part


def coco_masks(
    annotations: str | os.PathLike,
    image_dir: str | os.PathLike,
    transform: Transform | None = None,
    *,
    background: bool = True,
    ignore_index: int = 255,
) -> SegmentationDataset:
    """Open a COCO JSON file as a semantic data set.

    Where instances overlap, the smaller one is on top. Crowds count: they are pixels of their category.

    Args:
        annotations: the JSON file.
        image_dir: folder of the images.
        transform: joint transform of an item.
        background: class 0 is every pixel without an instance and category k is class k + 1; else the categories are
            the classes 0 .. K - 1 and all other pixels are ignored.
        ignore_index: value of pixels that do not count.
    """
    content = Annotations(Path(annotations))
    images = content.image_files(image_dir)
    check_files_exist(f"the images of {annotations}", images)
    return SegmentationDataset(
        images,
        [content.file / str(index) for index in range(len(images))],
        (("background",) if background else ()) + content.names,
        decode=partial(_draw, annotations=content, first=int(background), empty=0 if background else ignore_index),
        ignore_index=ignore_index,
        transform=transform,
    )


def _draw(path: Path, annotations: Annotations, first: int, empty: int) -> np.ndarray:
    """Draw the label map of the image at ``FILE.json/INDEX``."""
    index = int(path.name)
    record = annotations.images[index]
    labels = np.full((record["height"], record["width"]), empty, dtype=np.uint8)
    instances = [(annotations.mask(item, index), item["category_id"]) for item in annotations.of(index)]
    for mask, category in sorted(instances, key=lambda instance: -instance[0].sum()):
        labels[mask] = annotations.category_ids.index(category) + first
    return labels


def _files(root: str | os.PathLike, split: str) -> tuple[Path, Path]:
    root = Path(root)
    file = root / f"instances_{split}.json"
    if not os.path.isfile(file):
        file = root / "annotations" / file.name
    check_layout("COCO", "ROOT/annotations/instances_SPLIT.json and ROOT/SPLIT/*.jpg", root, file, root / split)
    return file, root / split


def coco(root: str | os.PathLike, split: str, transform: Transform | None = None) -> CocoInstances:
    """Open the instances of a split in the publishers' layout."""
    return CocoInstances(*_files(root, split), transform)


def coco_semantic(
    root: str | os.PathLike, split: str, transform: Transform | None = None, *, background: bool = True
) -> SegmentationDataset:
    """Open the semantic masks of a split in the publishers' layout: see :func:`coco_masks`."""
    return coco_masks(*_files(root, split), transform, background=background)
