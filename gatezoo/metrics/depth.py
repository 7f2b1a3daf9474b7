"""How near predicted depths are to measured ones."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import torch
from torch import Tensor

from .sums import SumStates


@dataclass(frozen=True)
class DepthResult:
    """Figures of predicted depth d against the measured d*, over all pixels at which d* is known.

    Attributes:
        delta1, delta2, delta3: share of pixels with max(d / d*, d* / d) < 1.25, 1.25^2, 1.25^3.
        abs_rel: mean of |d - d*| / d*.
        rmse: root of the mean of (d - d*)^2, in metres.
        rmse_log: root of the mean of (ln d - ln d*)^2.
        pixels: number of them.
    """

    delta1: float
    delta2: float
    delta3: float
    abs_rel: float
    rmse: float
    rmse_log: float
    pixels: int

    def to_dict(self) -> dict[str, float]:
        return asdict(self)


class DepthMetric:
    """Accumulates the usual figures of depth (Eigen et al., NeurIPS 2014, Sec. 4.2) over pixels, not over images.

    Args:
        device: where a group of processes shares its sums.
    """

    _NAMES = ("pixels", "delta1", "delta2", "delta3", "abs_rel", "squared", "squared_log")

    def __init__(self, device: str | torch.device = "cpu"):
        self._totals = SumStates(dict.fromkeys(self._NAMES, 1), device)

    def update(self, predicted: Tensor, measured: Tensor) -> None:
        """Depths in metres, both (..., H, W); NaN or 0 in ``measured`` where it is not known.

        Raises:
            ValueError: sizes that differ, or a predicted depth that is not positive.
        """
        if predicted.shape != measured.shape:
            raise ValueError(
                f"predicted depth must have the size of the measured; "
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
        self._totals.update({name: term.sum() for name, term in terms.items()})

    def compute(self) -> DepthResult:
        """Figures of all processes. Every process must call it.

        Raises:
            ValueError: no pixel at which the depth is known.
        """
        totals = {name: total.item() for name, total in self._totals.compute().items()}
        pixels = totals["pixels"]
        if not pixels:
            raise ValueError("measured depth must be known at one pixel at least; it is NaN or 0 at all of them")
        return DepthResult(
            delta1=totals["delta1"] / pixels,
            delta2=totals["delta2"] / pixels,
            delta3=totals["delta3"] / pixels,
            abs_rel=totals["abs_rel"] / pixels,
            rmse=(totals["squared"] / pixels) ** 0.5,
            rmse_log=(totals["squared_log"] / pixels) ** 0.5,
            pixels=int(pixels),
        )
