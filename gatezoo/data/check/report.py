"""Result of a data check: issues per file and class frequencies."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import torch

from ..class_weights import class_weights
from ..files.issue import Issue, raise_errors


@dataclass
class Report:
    """Result of :func:`~gatezoo.data.check.check.check_folder`.

    Attributes:
        root: the folder.
        pairs: number of images with labels.
        classes: names of the classes; numbers where none were given.
        ignore_index: value of pixels that do not count.
        issues: errors and warnings, in the order of the files.
        pixels: number of pixels of each class, (K,).
        ignored: number of ignored pixels.
        images_with: number of images that hold each class, (K,).
    """

    root: Path
    pairs: int
    classes: tuple[str, ...]
    ignore_index: int
    issues: list[Issue] = field(default_factory=list)
    pixels: torch.Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.long))
    ignored: int = 0
    images_with: torch.Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.long))

    @property
    def num_classes(self) -> int:
        """Number K of classes."""
        return len(self.classes)

    @property
    def errors(self) -> list[Issue]:
        """Issues that training would fail on."""
        return [issue for issue in self.issues if issue.fatal]

    @property
    def warnings(self) -> list[Issue]:
        """Issues that training would not fail on."""
        return [issue for issue in self.issues if not issue.fatal]

    @property
    def class_frequencies(self) -> torch.Tensor:
        """Share of each class among the labeled pixels, (K,): see ``SegmentationDataset.class_frequencies``."""
        return self.pixels.double() / max(int(self.pixels.sum()), 1)

    def weights(self, kind: str = "sqrt") -> torch.Tensor | None:
        """Compute class weights for the loss: see :func:`gatezoo.data.class_weights.class_weights`."""
        return class_weights(self.class_frequencies, kind) if self.pixels.any() else None

    def raise_errors(self) -> None:
        """Raise ValueError with the first error, its file and the number of errors, if there are any."""
        raise_errors(self.issues, self.root)
