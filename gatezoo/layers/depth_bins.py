"""Quantize depth into scale bins: the depth of a pixel determines its pooling field."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

# By unit of depth: the comparison with a threshold that is true for anything nearer than the threshold.
NEARER: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"metres": torch.lt, "disparity": torch.gt}


def is_known(depth: Tensor) -> Tensor:
    """Return a mask of the measured depths: NaN, infinity and values up to 0 stand for no measurement."""
    return depth.isfinite() & (depth > 0)


def scale_bins(depth: Tensor, thresholds: Tensor, unit: str = "metres") -> Tensor:
    """Return the scale of every pixel, the number of thresholds that it is nearer than.

    Args:
        depth: (B, H, W).
        thresholds: (S - 1,), rising, in the unit of the depth. A depth equal to one belongs to the farther scale.
        unit: "metres", or "disparity", where larger values are nearer.

    Returns:
        Integers (B, H, W) in 0 .. S - 1; -1 where the depth is unknown.
    """
    bins = NEARER[unit](depth[..., None], thresholds.to(depth)).sum(-1)
    return torch.where(is_known(depth), bins, -1)


def scale_weights(depth: Tensor, thresholds: Tensor, size: Sequence[int], unit: str = "metres") -> Tensor:
    """Return the gate of a given depth: (B, H, W) -> (B, S, *size), 1 for the scale of a pixel and 0 for the others.

    Where the depth is unknown, every scale has the weight 1 / S (Sec. 6.3). The depth is sampled at the nearest pixel:
    a depth interpolated across an edge would select a scale that fits neither side.

    Args:
        depth: (B, H, W).
        thresholds: (S - 1,), see :func:`scale_bins`.
        size: (h, w) of the gate.
        unit: "metres" or "disparity".
    """
    sampled = F.interpolate(depth[:, None], size, mode="nearest-exact")[:, 0]
    bins, scales = scale_bins(sampled, thresholds, unit)[:, None], len(thresholds) + 1
    selected = bins == torch.arange(scales, device=depth.device)[:, None, None]
    return torch.where(bins < 0, 1 / scales, selected.to(depth.dtype))
