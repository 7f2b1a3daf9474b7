"""The images that an 8-bit export is calibrated on, and those that are held out to measure what it loses."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as F

from ..data import SegmentationDataset
from ..inference.data_classes import check_class_names, check_num_classes
from ..inference.image_files import error_context, list_images
from ..inference.inputs import trained_image_max
from ..segmenters.base import SemanticSegmenter
from ..utils.images import load_image
from ..utils.text import shorten

# Images of each part at most; of more, evenly spread ones are taken.
CALIBRATION_IMAGES, HELD_OUT_IMAGES = 32, 64
MIN_IMAGES = 4


class CalibrationImages:
    """Images, with or without labels, of which every other one calibrates and the rest is held out.

    Args:
        source: a folder of images, or a data set of images and labels.
        model: that is exported.
        preprocessing: the exported file takes uint8 images (1, H, W, C); else normalized ones (1, C, H, W).
        size: that images, and their labels, are resized to; None for their own.
        sides: least and greatest side of images of their own size.

    Attributes:
        labeled: the source has labels.
        calibration, held_out: indices of the images.

    Raises:
        ValueError: another source, fewer images than ``MIN_IMAGES``, or a data set with other classes.
    """

    def __init__(
        self,
        source: Any,
        model: SemanticSegmenter,
        preprocessing: bool,
        size: tuple[int, int] | None,
        sides: tuple[int, int],
    ):
        self.labeled = isinstance(source, SegmentationDataset)
        if self.labeled:
            check_num_classes(model, source)
            check_class_names(model, source)
            self.images: list[Path] = source.images
        elif isinstance(source, (str, os.PathLike)):
            self.images = list_images(source)
        else:
            raise ValueError(
                f"calibration must be a folder of images or a data set; got {shorten(source)}: pass the folder, or a "
                "gatezoo.data.FolderDataset of labeled images"
            )
        if len(self.images) < MIN_IMAGES:
            raise ValueError(
                f"calibration must have at least {MIN_IMAGES} images, half of which are held out; got "
                f"{len(self.images)}: add more"
            )
        every = range(len(self.images))
        self.calibration = _spread(every[::2], CALIBRATION_IMAGES)
        self.held_out = _spread(every[1::2], HELD_OUT_IMAGES)
        self.ignore_index = getattr(source, "ignore_index", 255)
        self._source, self._size, self._sides = source, size, sides
        self._in_chans, self._image_max = model.in_chans, trained_image_max(model)
        self._normalize = None if preprocessing else model.make_normalize()

    def read(self, indices: Iterable[int]) -> Iterator[tuple[Tensor, Tensor | None]]:
        """Yield (input of the exported file, labels (H, W) or None) of images.

        Raises:
            ValueError: files that cannot be read, or images of a size that the exported network does not take.
        """
        for index in indices:
            with error_context(self.images[index]):
                found = self._read(index)
            yield found

    def _read(self, index: int) -> tuple[Tensor, Tensor | None]:
        labels = None
        if self.labeled:
            sample = self._source[index]
            image, labels = sample["image"].as_subclass(Tensor), sample["mask"].as_subclass(Tensor)
        else:
            image = load_image(self.images[index], self._in_chans, self._image_max)
        if self._size:
            image = F.resize(image, list(self._size), antialias=True)
            labels = (
                None if labels is None else F.resize(labels[None], list(self._size), F.InterpolationMode.NEAREST)[0]
            )
        low, high = self._sides
        if not all(low <= side <= high for side in image.shape[-2:]):
            raise ValueError(
                f"sides of images must be in {low} .. {high}; got {tuple(image.shape[-2:])}: resize it, or export a "
                "fixed size"
            )
        if self._normalize is None:
            return image.round().to(torch.uint8).permute(1, 2, 0)[None].contiguous(), labels
        return self._normalize(image[None]).contiguous(), labels


def _spread(indices: range, count: int) -> list[int]:
    """Return at most so many of the indices, evenly spread."""
    count = min(count, len(indices))
    return [indices[position * len(indices) // count] for position in range(count)]
