"""Results of semantic segmentation: of one pass on the device, and of one image for the user."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from torch import Tensor


@dataclass(frozen=True)
class PassMaps:
    """Maps of one pass over an image, at the image's size, on the network's device.

    Attributes:
        classes: label map, (H, W) of uint8 (of int32 for more than 256 classes).
        probabilities: of each class, (K, H, W) of float32, 1 in sum; None unless requested.
        instability: (H, W) of float32, see :class:`Prediction`; None without a pass before, or without probabilities.
        depth: in metres, (H, W) of float32; None unless requested.
        scale_weights: weights of the scales, (S, h, w) of float32, 1 in sum; None unless depth is requested.
        iterations: number of passes that led to these maps, this one included.
        logits: of each class, (K, H, W); None unless requested.
        gates: each gate by its name, G1, G2, ...: (h, w) of float32, the mean over its channels, at the size of its own
            maps (:func:`gatezoo.inference.gate_maps.resize_gate`). {} in a pass without gates, or unless requested.
    """

    classes: Tensor
    probabilities: Tensor | None = None
    instability: Tensor | None = None
    depth: Tensor | None = None
    scale_weights: Tensor | None = None
    iterations: int = 1
    logits: Tensor | None = None
    gates: Mapping[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class Prediction:
    """Prediction for one image, at the image's own size.

    Attributes:
        image: that was predicted, (C, H, W), values in 0 .. 255.
        classes: label map, (H, W) of uint8 (of int32 for more than 256 classes).
        probabilities: of each class, (K, H, W) of float32, 1 in sum; None unless requested.
        instability: how much the last pass of an unrolled network still moved the distribution, (H, W) in 0 .. 1: the
            total variation 1/2 sum_k abs(p_T(k) - p_(T-1)(k)). None without probabilities, or for a single pass.
        depth: in metres, (H, W) of float32; None unless requested.
        scale_weights: weights of the scales, (S, h, w) of float32, 1 in sum; None unless depth is requested.
        iterations: number of passes that were run.
        gates: see :class:`PassMaps`.
        passes: prediction of each pass, in order; empty unless requested. Unless passes are merged, the last one
            equals this prediction.
    """

    image: Tensor
    classes: np.ndarray
    probabilities: np.ndarray | None = None
    instability: np.ndarray | None = None
    depth: np.ndarray | None = None
    scale_weights: np.ndarray | None = None
    iterations: int = 1
    gates: dict[str, np.ndarray] = field(default_factory=dict)
    passes: list[Prediction] = field(default_factory=list)

    @property
    def confidence(self) -> np.ndarray | None:
        """Probability of the predicted class, (H, W) of float32; None without probabilities."""
        return None if self.probabilities is None else self.probabilities.max(0)

    @classmethod
    def from_maps(cls, image: Tensor, maps: PassMaps) -> Prediction:
        """Copy the maps of a pass over an image to the CPU."""
        arrays: dict[str, Any] = {
            name: value.cpu().numpy() if isinstance(value, Tensor) else value
            for name, value in vars(maps).items()
            if name not in ("logits", "gates")
        }
        return cls(image, gates={name: gate.cpu().numpy() for name, gate in maps.gates.items()}, **arrays)
