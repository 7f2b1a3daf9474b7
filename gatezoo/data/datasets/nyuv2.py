"""Readers of NYU-Depth-v2 (Silberman et al., 2012) with the 40 classes of Gupta et al. (2013): rooms, 640 x 480, depth.

There are two readers for two layouts.

``nyuv2``, the publishers' files: ``nyu_depth_v2_labeled.mat`` (MATLAB 7.3: images, labels with 894 ids, depths in
metres with holes filled), ``splits.mat`` (``trainNdxs``, ``testNdxs``, from 1: 795 and 654) and ``classMapping40.mat``
(``mapClass``: the class 1 .. 40 of each id). 0 = unlabeled, ignored. Described at
https://cs.nyu.edu/~fergus/datasets/nyu_depth_v2.html; the mapping came with
https://people.eecs.berkeley.edu/~sgupta/cvpr13/.

``nyuv2_folder``: ``train/{images/*.jpg, labels/*.png, depth/*.png}``, labels 0 .. 38 = the first 39 of the classes
("otherprop" was merged with unlabeled), 255 ignored, depth in 8 bits: metres = value / 25.5. It has no
validation frames: every eighth (index % 8 == 0) is held out as "val".

License: none stated; research use.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch

from ...utils.choices import check_choice
from ...utils.palette import voc_palette
from ..base import ExtraMap, Sample, SegmentationDataset
from ..files.layout import check_layout
from ..files.matlab import hdf5_map, open_hdf5, read_mat
from .folder import FolderDataset

CLASSES = (
    "wall", "floor", "cabinet", "bed", "chair", "sofa", "table", "door", "window", "bookshelf", "picture", "counter",
    "blinds", "desk", "shelves", "curtain", "dresser", "pillow", "mirror", "floor mat", "clothes", "ceiling", "books",
    "refrigerator", "television", "paper", "towel", "shower curtain", "box", "whiteboard", "person", "night stand",
    "toilet", "sink", "lamp", "bathtub", "bag", "otherstructure", "otherfurniture", "otherprop",
)  # fmt: skip
PALETTE = tuple(voc_palette(len(CLASSES) + 1)[1:])

# Rows 45 .. 469 and columns 40 .. 599 of 480 x 640 (Gupta et al., 2013): the rest is a border without depth.
CROP = ((45 / 480, 470 / 480), (40 / 640, 600 / 640))

# Metres of one unit of the folder's 8-bit depth.
FOLDER_DEPTH = 1 / 25.5

_TREE = "ROOT/{nyu_depth_v2_labeled.mat, splits.mat, classMapping40.mat}"
_FOLDER_TREE = "ROOT/train/{images/*.jpg, labels/*.png, depth/*.png}"


def nyuv2(
    root: str | os.PathLike,
    split: str,
    transform: Callable[[Sample], Sample] | None = None,
    *,
    depth: bool = False,
    crop: bool = False,
) -> SegmentationDataset:
    """Open the publishers' files, 40 classes.

    ``images`` are paths inside the file, such as ``.../nyu_depth_v2_labeled.mat/0012``.

    Args:
        root: folder that holds the three files.
        split: "train" or "test".
        transform: joint transform of an item.
        depth: items have a "depth".
        crop: leave out the border of the frames, for items of 425 x 560: those of Gupta et al. (2013), on which the
            code of the depth-gating paper trains, while its text gives 640 x 480 (Sec. 6.1).
    """
    key = {"train": "trainNdxs", "test": "testNdxs"}[
        check_choice("the split of NYU-Depth-v2", split, ("train", "test"))
    ]
    file, splits, mapping = (Path(root) / n for n in ("nyu_depth_v2_labeled.mat", "splits.mat", "classMapping40.mat"))
    check_layout("NYU-Depth-v2", _TREE, file, splits, mapping)
    frames = np.atleast_1d(read_mat(splits, key)).astype(int) - 1
    count = len(open_hdf5(file)["images"])
    if not (len(frames) and 0 <= frames.min() <= frames.max() < count):
        raise ValueError(f"the frames of {key} in {splits} must be 1 .. {count}, those of {file.name}")
    paths = [file / f"{frame:04}" for frame in frames]
    classes = np.atleast_1d(read_mat(mapping, "mapClass")).astype(int)
    if not 1 <= classes.min() <= classes.max() <= len(CLASSES):
        raise ValueError(
            f"mapClass must map to 1 .. {len(CLASSES)}; {mapping} maps to {classes.min()} .. {classes.max()}"
        )
    data = SegmentationDataset(
        paths,
        paths,
        CLASSES,
        decode=partial(hdf5_map, name="labels"),
        ids={0: 255} | {label_id: int(k) - 1 for label_id, k in enumerate(classes, start=1)},
        palette=PALETTE,
        layers={"depth": ExtraMap(paths, _read_depth)} if depth else None,
        read_image=_read_image,
        transform=transform,
    )
    return data.cropped(*CROP) if crop else data


def _read_image(path: Path) -> torch.Tensor:
    columns_first = open_hdf5(path.parent)["images"][int(path.name)]
    return torch.from_numpy(np.ascontiguousarray(columns_first.transpose(0, 2, 1)))


def _read_depth(path: Path) -> np.ndarray:
    depth = hdf5_map(path, "depths").astype(np.float32)
    return np.where(depth > 0, depth, np.float32(np.nan))


def nyuv2_folder(
    root: str | os.PathLike,
    split: str,
    transform: Callable[[Sample], Sample] | None = None,
    *,
    depth: bool = False,
    half: bool = False,
) -> SegmentationDataset:
    """Open the training frames as folders of images, 39 classes.

    Args:
        root: folder that holds ``train``.
        split: "train", "val" (every eighth frame) or "trainval" (all).
        transform: joint transform of an item.
        depth: items have a "depth".
        half: items have half their size, 320 x 240; depths are unchanged.
    """
    check_choice("the split of NYU-Depth-v2 as folders", split, ("train", "val", "trainval"))
    root = Path(root) / "train"
    check_layout("NYU-Depth-v2 as folders", _FOLDER_TREE, root / "images", root / "labels", *([root / "depth"] * depth))
    data = FolderDataset(
        root, CLASSES[:39], transform=transform, palette=PALETTE[:39], depth=FOLDER_DEPTH if depth else None
    )
    keep = {"train": lambda i: i % 8 != 0, "val": lambda i: i % 8 == 0, "trainval": lambda i: True}[split]
    part = data.subset(filter(keep, range(len(data))))
    return part.downsampled() if half else part
