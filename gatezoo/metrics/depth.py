"""Metrics of predicted depth."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from .base import Metric
from .sums import SumStates


@dataclass(frozen=True)
class DepthResult:
    """Metrics of predicted depth d against the measured d*, over all pixels at which d* is known.

    Attributes:
        delta1, delta2, delta3: share of pixels with max(d / d*, d* / d) < 1.25, 1.25^2, 1.25^3.
        abs_rel: mean of |d - d*| / d*.
        rmse: square root of the mean of (d - d*)^2, in metres.
        rmse_log: square root of the mean of (ln d - ln d*)^2.
        pixels: number of pixels at which d* is known.
    """

    delta1: float
    delta2: float
    delta3: float
    abs_rel: float
    rmse: float
    rmse_log: float
    pixels: int

    def to_dict(self) -> dict[str, float]:
        """Return all metrics by name, ready for JSON."""
        return asdict(self)


class DepthMetric(Metric):
    """The usual depth metrics (Eigen et al., NeurIPS 2014, Sec. 4.2) over pixels, not over images.

    Kong and Fowlkes (Table 1, Sec. 6.2) give delta1 to delta3. Their "+ blur" is a Gaussian over the predicted depth
    before it is compared, as ``blur`` of :class:`~gatezoo.Predictor` has it; they state no standard deviation.
    """

    needs = ("depth",)
    outputs = ("depth",)

    _NAMES = ("pixels", "delta1", "delta2", "delta3", "abs_rel", "squared", "squared_log")

    def reset(self, device: str | torch.device) -> None:
        self._sums = SumStates(dict.fromkeys(self._NAMES, 1), device)

    def update(self, maps: Any, sample: Mapping[str, Any]) -> None:
        """Add depths in metres, both (..., H, W); NaN or 0 in the sample where it is not known.

        Raises:
            ValueError: the sizes differ, or a predicted depth is not positive.
        """
        predicted: Tensor = maps.depth
        measured: Tensor = sample["depth"]
        if predicted.shape != measured.shape:
            raise ValueError(
                f"predicted depth must have the size of the measured depth; "
                f"got {tuple(predicted.shape)} and {tuple(measured.shape)}"
            )
        known = measured.isfinite() & (measured > 0)
        predicted, measured = predicted[known].double(), measured[known].double()
        if not (predicted.isfinite() & (predicted > 0)).all():
            raise ValueError(
                "predicted depth must be positive, in metres; got zero, negative or NaN: take exp of a log-depth"
            )
        ratio = torch.maximum(predicted / measured, measured / predicted)
        error, log_error = predicted - measured, predicted.log() - measured.log()
        terms = {
            "pixels": torch.ones_like(ratio),
            "delta1": ratio < 1.25,
            "delta2": ratio < 1.25**2,
            "delta3": ratio < 1.25**3,
            "abs_rel": error.abs() / measured,
            "squared": error**2,
            "squared_log": log_error**2,
        }
        self._sums.update({name: term.sum() for name, term in terms.items()})

    def compute(self) -> dict[str, DepthResult]:
        """Return the result of all processes, as "depth".

        Raises:
            ValueError: the depth is known at no pixel.
        """
        sums = {name: total.item() for name, total in self._sums.compute().items()}
        pixels = sums["pixels"]
        if not pixels:
            raise ValueError(
                "measured depth must be known at one pixel at least; got NaN or 0 at all: check the depth files"
            )
        result = DepthResult(
            delta1=sums["delta1"] / pixels,
            delta2=sums["delta2"] / pixels,
            delta3=sums["delta3"] / pixels,
            abs_rel=sums["abs_rel"] / pixels,
            rmse=(sums["squared"] / pixels) ** 0.5,
            rmse_log=(sums["squared_log"] / pixels) ** 0.5,
            pixels=int(pixels),
        )
        return {"depth": result}
