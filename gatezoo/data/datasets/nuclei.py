"""Reader of the nuclei of the 2018 Data Science Bowl (Caicedo et al., 2019), microscopy in many sizes.

Layout: ``{train,val}/images/*.jpg`` and ``{train,val}/instances/*.png``, 16 bits: 0 = background, k = nucleus k. As
semantic masks: 0 background, 1 nucleus, and on request 2 boundary between touching nuclei; nothing is ignored.
Described at https://bbbc.broadinstitute.org/BBBC038.
License: CC0.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

from ...utils.choices import check_choice
from ...utils.images import IMAGE_SUFFIXES
from ..base import ExtraMap, Sample, SegmentationDataset
from ..files.labels import boundary_png, foreground_png, instance_png
from ..files.layout import TRAIN_VAL, check_files_exist, check_layout, list_files
from ..instances import InstanceMaskDataset

CLASSES = ("background", "nucleus")
PALETTE = ((0, 0, 0), (255, 255, 255))
BOUNDARY, BOUNDARY_COLOR = "boundary", (255, 64, 64)
# Pixels to a touching nucleus up to which a pixel belongs to their boundary: wide enough for maps of stride 4.
BOUNDARY_RADIUS = 2

_TREE = "ROOT/{train,val}/{images/*.jpg, instances/*.png}"


def nuclei(
    root: str | os.PathLike,
    split: str,
    transform: Callable[[Sample], Sample] | None = None,
    *,
    boundary: bool = False,
    instances: bool = False,
) -> SegmentationDataset:
    """Open the nuclei as semantic masks: background and nucleus.

    Args:
        root: folder that holds ``train`` and ``val``.
        split: "train", "val" or "trainval", both of them.
        transform: joint transform of an item.
        boundary: a third class, the pixels of a nucleus at most 2 rows and columns from another nucleus.
        instances: add the layer "instance", the number of each pixel's nucleus, 0 for none.
    """
    images, masks = _files(root, split)
    classes, palette = (CLASSES + (BOUNDARY,), PALETTE + (BOUNDARY_COLOR,)) if boundary else (CLASSES, PALETTE)
    return SegmentationDataset(
        images,
        masks,
        classes,
        decode=partial(boundary_png, radius=BOUNDARY_RADIUS) if boundary else foreground_png,
        palette=palette,
        layers={"instance": ExtraMap(masks, instance_png)} if instances else None,
        transform=transform,
    )


def nuclei_instances(
    root: str | os.PathLike, split: str, transform: Callable[[Sample], Sample] | None = None
) -> InstanceMaskDataset:
    """Open the nuclei as instances, each with a mask and a box; arguments: see :func:`nuclei`."""
    return InstanceMaskDataset(*_files(root, split), CLASSES[1], transform=transform)


def _files(root: str | os.PathLike, split: str) -> tuple[list[Path], list[Path]]:
    folders = [Path(root) / part for part in TRAIN_VAL[check_choice("the split of the nuclei", split, TRAIN_VAL)]]
    check_layout("the nuclei", _TREE, *(folder / kind for folder in folders for kind in ("images", "instances")))
    images = [image for folder in folders for image in list_files(folder / "images", IMAGE_SUFFIXES)]
    masks = [image.parents[1] / "instances" / f"{image.stem}.png" for image in images]
    check_files_exist("the nuclei", images, masks)
    return images, masks
