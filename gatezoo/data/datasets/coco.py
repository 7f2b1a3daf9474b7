"""COCO (Lin et al., 2014), and any data set in its format: objects as instances, or drawn into semantic masks.

Layout: ``annotations/instances_SPLIT.json`` (or ``instances_SPLIT.json``) and the images in ``SPLIT/``, with the
splits "train2017" and "val2017" of the publishers, or any other of one's own. Category ids have gaps (COCO: 80
categories in 1 .. 90); classes follow them in order. Described at https://cocodataset.org/#format-data.
Licence of COCO: images under Flickr's terms, annotations CC BY 4.0.
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
    """Objects of a COCO JSON file.

    An item: "image" uint8 (3, H, W); "boxes" ``tv_tensors.BoundingBoxes`` float (N, 4), XYXY; "labels" int64 (N),
    1 .. K in order of category id, as 0 is the detectors' background; "masks" ``tv_tensors.Mask`` bool (N, H, W);
    "image_id".
    Left out: crowds, boxes without area, objects whose mask has no pixel. A image without objects stays, with N = 0.

    Args:
        annotations: the JSON file.
        image_dir: folder of the images.
        transform: joint transform of an item.

    Attributes:
        classes: "background" and the K categories; ``num_classes`` is K + 1.
        category_ids: COCO's id of each class, 0 for the background: results go back to COCO's ids by it.
    """

    def __init__(
        self,
        annotations: str | os.PathLike,
        image_dir: str | os.PathLike,
        transform: Transform | None = None,
    ):
        self.annotations = Annotations(Path(annotations))
        self.images = [Path(image_dir) / record["file_name"] for record in self.annotations.images]
        check_files_exist(f"the images of {annotations}", self.images)
        self.classes = ("background", *self.annotations.names)
        self.num_classes = len(self.classes)
        self.category_ids = (0, *self.annotations.category_ids)
        self.palette = tuple(voc_palette(self.num_classes))
        self.transform = transform
        self._places = list(range(len(self.images)))

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Sample:
        path, place = self.images[index], self._places[index]
        image = tv_tensors.Image(load_image(path))
        height, width = image.shape[-2:]
        record = self.annotations.images[place]
        if (record["height"], record["width"]) != (height, width):
            raise ValueError(
                f"images must have the size that the annotations give; {path} is {(height, width)}, "
                f"in {self.annotations.file} {(record['height'], record['width'])}"
            )
        boxes, labels, masks = [], [], []
        for annotation in self.annotations.of(place):
            x, y, w, h = annotation["bbox"]
            box = [max(x, 0.0), max(y, 0.0), min(x + w, width), min(y + h, height)]
            if annotation.get("iscrowd") or box[0] >= box[2] or box[1] >= box[3]:
                continue
            mask = self.annotations.mask(annotation, place)
            if mask.any():
                boxes.append(box)
                labels.append(self.category_ids.index(annotation["category_id"], 1))
                masks.append(torch.from_numpy(mask))
        boxes = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)
        sample = {
            "image": image,
            "boxes": tv_tensors.BoundingBoxes(boxes, format="XYXY", canvas_size=(height, width)),
            "labels": torch.tensor(labels, dtype=torch.int64),
            "masks": tv_tensors.Mask(torch.stack(masks) if masks else torch.zeros(0, height, width, dtype=torch.bool)),
            "image_id": record["id"],
        }
        return self.transform(sample) if self.transform else sample

    def subset(self, indices: Iterable[int]) -> CocoInstances:
        """The same data set with these images alone, in this order."""
        part, indices = copy.copy(self), list(indices)
        part.images, part._places = ([items[i] for i in indices] for items in (self.images, self._places))
        return part


def coco_masks(
    annotations: str | os.PathLike,
    image_dir: str | os.PathLike,
    transform: Transform | None = None,
    *,
    background: bool = True,
    ignore_index: int = 255,
) -> SegmentationDataset:
    """Semantic masks drawn from a COCO JSON file: categories in order of id.

    Where objects overlap the smaller one is on top. Crowds count: they are pixels of their category.

    Args:
        annotations: the JSON file.
        image_dir: folder of the images.
        background: class 0 is what no object covers and category k is class k + 1; else the categories are the
            classes 0 .. K - 1 and the rest is ignored.
    """
    content = Annotations(Path(annotations))
    images = [Path(image_dir) / record["file_name"] for record in content.images]
    check_files_exist(f"the images of {annotations}", images)
    return SegmentationDataset(
        images,
        [content.file / str(place) for place in range(len(images))],
        (("background",) if background else ()) + content.names,
        decode=partial(_drawn, annotations=content, first=int(background), empty=0 if background else ignore_index),
        ignore_index=ignore_index,
        transform=transform,
    )


def _drawn(place: Path, annotations: Annotations, first: int, empty: int) -> np.ndarray:
    index = int(place.name)
    record = annotations.images[index]
    labels = np.full((record["height"], record["width"]), empty, dtype=np.uint8)
    objects = [(annotations.mask(item, index), item["category_id"]) for item in annotations.of(index)]
    for mask, category in sorted(objects, key=lambda drawn: -drawn[0].sum()):
        labels[mask] = annotations.category_ids.index(category) + first
    return labels


def _files(root: str | os.PathLike, split: str) -> tuple[Path, Path]:
    root = Path(root)
    file = root / f"instances_{split}.json"
    if not file.is_file():
        file = root / "annotations" / file.name
    check_layout("COCO", "ROOT/annotations/instances_SPLIT.json and ROOT/SPLIT/*.jpg", root, file, root / split)
    return file, root / split


def coco(root: str | os.PathLike, split: str, transform: Transform | None = None) -> CocoInstances:
    """Instances of a split that lies as the publishers ship it."""
    return CocoInstances(*_files(root, split), transform)


def coco_semantic(
    root: str | os.PathLike, split: str, transform: Transform | None = None, *, background: bool = True
) -> SegmentationDataset:
    """Semantic masks of a split that lies as the publishers ship it: see :func:`coco_masks`."""
    return coco_masks(*_files(root, split), transform, background=background)
