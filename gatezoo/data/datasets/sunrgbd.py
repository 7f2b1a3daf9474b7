"""Reader of SUN RGB-D (Song et al., 2015): rooms from four depth cameras, 37 classes.

Layout, as unpacked from the publishers' two archives: ``SUNRGBD/.../{image/*.jpg, depth_bfx/*.png}`` and
``SUNRGBDtoolbox/{Metadata/SUNRGBDMeta.mat, Metadata/SUNRGBD2Dseg.mat, traintestSUNRGBD/allsplit.mat}``; 5285 train and
5050 test. Labels are the cells ``seglabel`` of ``SUNRGBD2Dseg.mat`` (MATLAB 7.3), in the order of the metadata: 0 =
unlabeled, ignored; 1 .. 37 become 0 .. 36. Depth is that of ``depth_bfx``: holes filled by the publishers, at most 8 m.
Described at https://rgbd.cs.princeton.edu. License: none stated; research use.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path, PurePosixPath

import numpy as np

from ...utils.choices import check_choice
from ...utils.optional import require_package
from ...utils.palette import voc_palette
from ..base import ExtraMap, Sample, SegmentationDataset, ids_from_one
from ..files.depth import sun_png
from ..files.layout import check_files_exist, check_layout
from ..files.matlab import hdf5_cell, read_mat

CLASSES = (
    "wall", "floor", "cabinet", "bed", "chair", "sofa", "table", "door", "window", "bookshelf", "picture", "counter",
    "blinds", "desk", "shelves", "curtain", "dresser", "pillow", "mirror", "floor mat", "clothes", "ceiling", "books",
    "fridge", "tv", "paper", "towel", "shower curtain", "box", "whiteboard", "person", "night stand", "toilet", "sink",
    "lamp", "bathtub", "bag",
)  # fmt: skip
PALETTE = tuple(voc_palette(len(CLASSES) + 1)[1:])

_TREE = (
    "ROOT/{SUNRGBD/.../{image, depth_bfx}, SUNRGBDtoolbox/{Metadata/SUNRGBDMeta.mat, Metadata/SUNRGBD2Dseg.mat, "
    "traintestSUNRGBD/allsplit.mat}}"
)


def sunrgbd(
    root: str | os.PathLike,
    split: str,
    transform: Callable[[Sample], Sample] | None = None,
    *,
    depth: bool = False,
) -> SegmentationDataset:
    """Open SUN RGB-D, 37 classes.

    Args:
        root: folder that holds ``SUNRGBD`` and ``SUNRGBDtoolbox``.
        split: "train" or "test".
        transform: joint transform of an item.
        depth: items have a "depth".
    """
    check_choice("the split of SUN RGB-D", split, ("train", "test"))
    require_package("h5py", "SUN RGB-D's labels")
    root = Path(root)
    toolbox = root / "SUNRGBDtoolbox"
    meta, labels = toolbox / "Metadata" / "SUNRGBDMeta.mat", toolbox / "Metadata" / "SUNRGBD2Dseg.mat"
    parts = toolbox / "traintestSUNRGBD" / "allsplit.mat"
    check_layout("SUN RGB-D", _TREE, root / "SUNRGBD", meta, labels, parts)
    folders = {_relative(PurePosixPath(folder)) for folder in np.atleast_1d(read_mat(parts, f"all{split}")).tolist()}
    images, masks, depths = [], [], []
    for number, frame in enumerate(np.atleast_1d(read_mat(meta, "SUNRGBDMeta"))):
        folder = _relative(PurePosixPath(frame.rgbpath).parents[1])
        if folder in folders:
            images.append(root / folder / "image" / frame.rgbname)
            depths.append(root / folder / "depth_bfx" / frame.depthname)
            masks.append(labels / f"{number:05}")
    check_files_exist("SUN RGB-D", images, *([depths] if depth else []))
    return SegmentationDataset(
        images,
        masks,
        CLASSES,
        decode=partial(hdf5_cell, name="SUNRGBD2Dseg/seglabel"),
        ids=ids_from_one(len(CLASSES)),
        palette=PALETTE,
        layers={"depth": ExtraMap(depths, sun_png)} if depth else None,
        transform=transform,
    )


def _relative(folder: PurePosixPath) -> str:
    """Return the part of a path from SUNRGBD on: the metadata hold absolute paths of the publishers' machine."""
    parts = folder.parts
    return "/".join(parts[parts.index("SUNRGBD") :] if "SUNRGBD" in parts else parts)
