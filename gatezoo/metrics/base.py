"""What all metrics of an evaluation have in common, and the scores that they compute."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, is_dataclass
from math import isnan
from typing import Any, ClassVar, TypeVar

import torch

M = TypeVar("M", bound="Metric")


class Metric(ABC):
    """A metric that is accumulated over images, and over processes.

    An object holds the settings of a metric; :meth:`start` makes an accumulator of it. An evaluation calls::

        metric = BoundaryMetric(0.0075).start(num_classes, ignore_index, device)
        metric.update(maps, sample)         # for each image
        metric.compute()                    # {"boundary_f": ..., "boundary_f_by_class": [...]}

    Attributes:
        needs: keys that a sample must have.
        outputs: what ``maps`` must have in addition to ``classes``: "probabilities", "depth", "logits".
        num_classes: K.
        ignore_index: label that does not count.
    """

    needs: ClassVar[tuple[str, ...]] = ("mask",)
    outputs: ClassVar[tuple[str, ...]] = ()
    num_classes: int
    ignore_index: int

    def start(self: M, num_classes: int, ignore_index: int = 255, device: str | torch.device = "cpu") -> M:
        """Return an accumulator with these settings and without any image.

        Args:
            num_classes: K.
            ignore_index: label that does not count.
            device: of the maps, where a group of processes shares its sums.
        """
        metric = copy.copy(self)
        metric.num_classes, metric.ignore_index = num_classes, ignore_index
        metric.reset(device)
        return metric

    @property
    def settings(self) -> dict[str, Any]:
        """Settings that belong to the protocol of an evaluation, by name."""
        return {}

    @abstractmethod
    def reset(self, device: str | torch.device) -> None:
        """Forget all images."""

    @abstractmethod
    def update(self, maps: Any, sample: Mapping[str, Any]) -> Any:
        """Add an image.

        Args:
            maps: the prediction, with the label map ``classes`` (H, W) and what ``outputs`` lists.
            sample: the image's labels, with the keys of ``needs``.
        """

    @abstractmethod
    def compute(self) -> dict[str, Any]:
        """Return the scores of all images, of all processes, by name. Every process must call it."""


class Scores(dict[str, Any]):
    """Scores by name, which are attributes too: ``scores["miou"]`` is ``scores.miou``."""

    def __getattr__(self, name: str) -> Any:
        if name in self:
            return self[name]
        raise AttributeError(f"scores must have been computed by a metric; {name!r} is not among {', '.join(self)}")

    def to_dict(self) -> dict[str, Any]:
        """Return the scores ready for JSON: None for NaN."""
        return nan_to_none(dict(self))


def nan_to_none(value: Any) -> Any:
    """Replace NaN, which JSON does not have, by None in a number or in nested lists, dicts and results of numbers."""
    if is_dataclass(value) and not isinstance(value, type):
        value = asdict(value)
    if isinstance(value, dict):
        return {key: nan_to_none(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [nan_to_none(item) for item in value]
    return None if isinstance(value, float) and isnan(value) else value
