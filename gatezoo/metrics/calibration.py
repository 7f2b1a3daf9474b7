"""Calibration: whether a prediction is as often right as it is sure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from .base import Metric
from .sums import SumStates


class CalibrationMetric(Metric):
    """Expected calibration error (Guo et al., ICML 2017, Sec. 2) over the labeled pixels of all images.

    The confidence of a pixel is the probability of the class that is predicted for it. With n_b of N pixels in the b-th
    of B bins of equal width, of which the share acc_b is right, with a mean confidence of conf_b::

        ECE = sum_b n_b / N |acc_b - conf_b|

    Sums of the bins are kept, not pixels: the memory does not grow with the images.

    Args:
        bins: B.

    Raises:
        ValueError: bins is below 1.
    """

    outputs = ("probabilities",)

    def __init__(self, bins: int = 15):
        if bins < 1:
            raise ValueError(f"bins must be a number of bins, 1 or more; got {bins}: 15 is usual")
        self.bins = bins

    @property
    def settings(self) -> dict[str, Any]:
        return {"calibration_bins": self.bins}

    def reset(self, device: str | torch.device) -> None:
        self._sums = SumStates(dict.fromkeys(("count", "hits", "confidence"), self.bins), device)

    def update(self, maps: Any, sample: Mapping[str, Any]) -> None:
        """Add the prediction of one image, with probabilities (K, H, W)."""
        labels: Tensor = sample["mask"]
        counted = labels != self.ignore_index
        hits = (maps.classes == labels)[counted].to(self._sums.device)
        confidence = maps.probabilities.amax(0)[counted].to(self._sums.device).double()
        bins = (confidence * self.bins).long().clamp(max=self.bins - 1)
        self._sums.update(
            {
                "count": bins.bincount(minlength=self.bins),
                "hits": bins[hits].bincount(minlength=self.bins),
                "confidence": bins.bincount(confidence, minlength=self.bins),
            }
        )

    def compute(self) -> dict[str, Any]:
        """Return the error, and of each bin the number of pixels, their accuracy and confidence (NaN for no pixel)."""
        sums = self._sums.compute()
        count, accuracy, confidence = (
            sums["count"],
            sums["hits"] / sums["count"],
            sums["confidence"] / sums["count"],
        )
        gaps = (accuracy - confidence).abs().nan_to_num()
        return {
            "ece": ((count * gaps).sum() / count.sum()).item(),
            "calibration": {
                "count": count.long().tolist(),
                "accuracy": accuracy.tolist(),
                "confidence": confidence.tolist(),
            },
        }
