"""Counts of instances, found and labeled."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from .base import Metric
from .sums import SumStates


class CountMetric(Metric):
    """Error of the number of instances in an image, over all classes.

    With n_i instances found in image i by a score of at least ``threshold``, and m_i labeled ones, crowds left out::

        count error = sum_i |n_i - m_i| / sum_i m_i

    Args:
        threshold: smallest score of an instance that counts.
    """

    needs = ("labels",)

    def __init__(self, threshold: float = 0.5):
        self.threshold = threshold

    def reset(self, device: str | torch.device) -> None:
        self._sums = SumStates(dict.fromkeys(("error", "labeled"), 1), device)

    def update(self, maps: Mapping[str, Any], sample: Mapping[str, Any]) -> None:
        """Add the scores (N,) of what is found in an image, and the labels (M,) of its targets, maybe with iscrowd."""
        found = int((maps["scores"] >= self.threshold).sum())
        crowds = sample.get("iscrowd")
        labeled = len(sample["labels"]) - (0 if crowds is None else int(crowds.sum()))
        self._sums.update({"error": torch.tensor([abs(found - labeled)]), "labeled": torch.tensor([labeled])})

    def compute(self) -> dict[str, Any]:
        """Return the error, NaN if nothing is labeled."""
        sums = self._sums.compute()
        return {"count_error": (sums["error"] / sums["labeled"]).item() if sums["labeled"] else float("nan")}
