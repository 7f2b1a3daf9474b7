"""Images whose labels are kept secret, such as those of a benchmark's test split: for predictions alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch

from .base import ExtraMap, Sample, SegmentationDataset
from .files.labels import Color


class UnlabeledDataset(SegmentationDataset):
    """Data set of images without labels.

    It has what predictions need: ``images``, ``layers``, ``classes`` and ``palette``. An item has a label map in it, so
    reading one is refused, and with it training and evaluation.

    Args:
        name: of the split in messages, such as "the test split of Cityscapes".
        images: image files.
        classes: names of the classes.
        palette: color of each class.
        layers: further maps by name.
        transform: joint transform of an item.
    """

    def __init__(
        self,
        name: str,
        images: Sequence[Path],
        classes: Sequence[str],
        *,
        palette: Sequence[Color],
        layers: Mapping[str, ExtraMap] | None = None,
        transform: Callable[[Sample], Sample] | None = None,
    ):
        super().__init__(images, images, classes, palette=palette, layers=layers, transform=transform)
        self.name = name

    def labels(self, index: int) -> torch.Tensor:
        """Raise ValueError: there are no labels."""
        raise ValueError(
            f"data to train or evaluate on must have labels; {self.name} has none: predict it (gatezoo predict), "
            "or choose another split"
        )
