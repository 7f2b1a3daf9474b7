"""What a check of data comes to: problems with their files, and the share of each class."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import torch

from ..class_weights import class_weights


@dataclass(frozen=True)
class Issue:
    """Something wrong, or odd, with a file.

    Attributes:
        kind: problems of one kind have one cure: "unreadable", "size", "ids", ...
        file: the file, or the folder where it is no single one's.
        message: what, and the cure.
        fatal: an error; else a warning.
    """

    kind: str
    file: Path
    message: str
    fatal: bool = True

    def __str__(self) -> str:
        return f"{'error' if self.fatal else 'warning'}: {self.file}: {self.message}"


@dataclass
class Report:
    """What :func:`check_folder` found.

    Attributes:
        root: the folder.
        pairs: images with labels.
        classes: names; numbers where none were given.
        ignore_index: value of pixels that do not count.
        problems: errors and warnings, in the order of the files.
        pixels: number of pixels of each class, (K,).
        ignored: number of ignored pixels.
        images_with: number of images that hold each class, (K,).
    """

    root: Path
    pairs: int
    classes: tuple[str, ...]
    ignore_index: int
    problems: list[Issue] = field(default_factory=list)
    pixels: torch.Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.long))
    ignored: int = 0
    images_with: torch.Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.long))

    @property
    def num_classes(self) -> int:
        return len(self.classes)

    @property
    def errors(self) -> list[Issue]:
        return [problem for problem in self.problems if problem.fatal]

    @property
    def warnings(self) -> list[Issue]:
        return [problem for problem in self.problems if not problem.fatal]

    @property
    def class_frequencies(self) -> torch.Tensor:
        """Share of each class among the labelled pixels, (K,): as of ``SegmentationDataset.frequencies``."""
        return self.pixels.double() / max(int(self.pixels.sum()), 1)

    def weights(self, kind: str = "sqrt") -> torch.Tensor | None:
        """Class weights for the loss: see :func:`gatezoo.data.class_weights.class_weights`."""
        return class_weights(self.class_frequencies, kind) if self.pixels.any() else None

    def raise_errors(self) -> None:
        """Stop at errors. Raises ValueError with the first, its file, and their number."""
        if self.errors:
            first = self.errors[0]
            more = (
                f" ({len(self.errors)} errors in all: gatezoo data check {self.root})" if len(self.errors) > 1 else ""
            )
            raise ValueError(f"{first.file}: {first.message}{more}")
