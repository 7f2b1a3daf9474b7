"""Connected components of a class as instances: how many there are, and how well each is found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from ..utils.choices import check_choice
from .base import Metric
from .count import CountMetric
from .detection import InstanceMetric


class ComponentMetric(Metric):
    """Average precision and count of the connected components of a class, as instances without a detector.

    A component is a set of pixels of the class that are neighbors by their sides. Pixels of the classes ``joined``,
    such as the boundary between touching objects, belong to the nearest component, if one is within ``reach``. The
    score of a component is the mean probability of class and joined classes over its pixels.

    Args:
        class_index: the class.
        joined: classes whose pixels are given to the components.
        reach: greatest distance, in pixels, of a pixel of a joined class from its component.
        min_pixels: smaller components do not count.

    Raises:
        ValueError: the class is among the joined ones, or a number is negative.
    """

    needs = ("mask", "instance")
    outputs = ("probabilities",)

    def __init__(self, class_index: int, joined: Sequence[int] = (), reach: float = 5.0, min_pixels: int = 16):
        if class_index in joined:
            raise ValueError(f"joined must be other classes than {class_index}; got {list(joined)}: leave it out")
        if min(reach, min_pixels) < 0:
            raise ValueError(f"reach and min_pixels must be 0 or more; got {reach}, {min_pixels}: 5 and 16 are usual")
        self.class_index, self.joined, self.reach, self.min_pixels = class_index, tuple(joined), reach, min_pixels

    @classmethod
    def from_names(cls, names: str, class_names: Sequence[str]) -> ComponentMetric:
        """Return the metric of "CLASS" or "CLASS+OTHER", with OTHER joined.

        Raises:
            ValueError: a name that is not among ``class_names``.
        """
        first, *joined = (
            class_names.index(check_choice("a class of components", name, class_names)) for name in names.split("+")
        )
        return cls(first, joined)

    @property
    def settings(self) -> dict[str, Any]:
        return {"components": {"reach": self.reach, "min_pixels": self.min_pixels}}

    def reset(self, device: str | torch.device) -> None:
        self._parts = [
            metric.start(self.num_classes, self.ignore_index, device)
            for metric in (InstanceMetric(("mask",)), CountMetric())
        ]

    def update(self, maps: Any, sample: Mapping[str, Any]) -> None:
        """Add the classes (H, W) and probabilities (K, H, W) of an image, and its instances, ids (H, W), 0 for none."""
        found = self.instances(maps.classes, maps.probabilities)
        ids = sample["instance"].as_subclass(Tensor)
        targets = {"masks": ids == ids[ids > 0].unique()[:, None, None]}
        targets["labels"] = torch.ones(len(targets["masks"]), dtype=torch.long)
        for metric in self._parts:
            metric.update(found, targets)

    def compute(self) -> dict[str, Any]:
        """Return the scores of :class:`InstanceMetric` for masks, and those of :class:`CountMetric`."""
        scores = {key: value for metric in self._parts for key, value in metric.compute().items()}
        return {key: value for key, value in scores.items() if not key.endswith("_by_class")}

    def instances(self, classes: Tensor, probabilities: Tensor) -> dict[str, Tensor]:
        """Return the components of a prediction: masks (N, H, W) of bool, labels (N,) of 1 and scores (N,)."""
        labels = classes.cpu().numpy()
        numbers, count = ndimage.label(labels == self.class_index)
        others = np.isin(labels, self.joined)
        if count and others.any():
            distances, nearest = ndimage.distance_transform_edt(numbers == 0, return_indices=True)
            others &= distances <= self.reach
            numbers[others] = numbers[tuple(nearest)][others]
        sizes = np.bincount(numbers.ravel(), minlength=count + 1)
        kept = [number for number in range(1, count + 1) if sizes[number] >= max(1, self.min_pixels)]
        share = probabilities[[self.class_index, *self.joined]].sum(0).double().cpu().numpy()
        totals = np.bincount(numbers.ravel(), weights=share.ravel(), minlength=count + 1)
        ids = torch.tensor(kept, dtype=torch.long)
        return {
            "masks": torch.from_numpy(numbers) == ids[:, None, None],
            "labels": torch.ones(len(kept), dtype=torch.long),
            "scores": torch.from_numpy(totals[kept] / sizes[kept]).float(),
        }
