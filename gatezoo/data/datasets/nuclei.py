"""Nuclei of the 2018 Data Science Bowl (Caicedo et al., 2019), microscopy in many sizes.

Layout: ``{train,val}/images/*.jpg`` and ``{train,val}/instances/*.png``, 16 bits: 0 = background, k = nucleus k. As
semantic masks: 0 background, 1 nucleus; nothing is ignored. Described at https://bbbc.broadinstitute.org/BBBC038.
Licence: CC0.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from ...utils.choices import one_of
from ...utils.images import PICTURE_SUFFIXES
from ..base import Sample, SegmentationDataset
from ..files.labels import foreground_png
from ..files.layout import complete, expect, visible
from ..instances import InstanceMaps

CLASSES = ("background", "nucleus")
PALETTE = ((0, 0, 0), (255, 255, 255))

_TREE = "ROOT/{train,val}/{images/*.jpg, instances/*.png}"


def nuclei(
    root: str | os.PathLike, split: str, transform: Callable[[Sample], Sample] | None = None
) -> SegmentationDataset:
    """Two classes: background and nucleus.

    Args:
        root: folder that holds ``train`` and ``val``.
        split: "train" or "val".
    """
    pictures, masks = _files(root, split)
    return SegmentationDataset(pictures, masks, CLASSES, decode=foreground_png, palette=PALETTE, transform=transform)


def nuclei_instances(
    root: str | os.PathLike, split: str, transform: Callable[[Sample], Sample] | None = None
) -> InstanceMaps:
    """Each nucleus with its mask and box; arguments as of :func:`nuclei`."""
    return InstanceMaps(*_files(root, split), CLASSES[1], transform=transform)


def _files(root: str | os.PathLike, split: str) -> tuple[list[Path], list[Path]]:
    folder = Path(root) / one_of("the split of the nuclei", split, ("train", "val"))
    expect("the nuclei", _TREE, folder / "images", folder / "instances")
    pictures = visible(folder / "images", PICTURE_SUFFIXES)
    masks = [folder / "instances" / f"{picture.stem}.png" for picture in pictures]
    complete("the nuclei", pictures, masks)
    return pictures, masks
