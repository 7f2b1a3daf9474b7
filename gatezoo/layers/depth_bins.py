"""Depth to scale bins: how near a pixel is decides its pooling field."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

# How a measure of depth compares with a threshold where something is nearer than it.
NEARER: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"metres": torch.lt, "disparity": torch.gt}


def is_known(depth: Tensor) -> Tensor:
    """Where a depth was measured: NaN, infinity and 0 stand for no measurement."""
    return depth.isfinite() & (depth > 0)


def scale_bins(depth: Tensor, thresholds: Tensor, unit: str = "metres") -> Tensor:
    """Scale of every pixel, the number of thresholds it is nearer than: (B, H, W) -> integers 0 .. S - 1, -1 unknown.

    Args:
        thresholds: (S - 1,), rising, in the unit of the depth. What lies on one belongs to the farther scale.
        unit: "metres", or "disparity", of which more is nearer.
    """
    bins = NEARER[unit](depth[..., None], thresholds.to(depth)).sum(-1)
    return torch.where(is_known(depth), bins, -1)


def scale_weights(depth: Tensor, thresholds: Tensor, size: tuple[int, int], unit: str = "metres") -> Tensor:
    """Gate of a given depth: (B, H, W) -> (B, S, *size), 1 for the scale of a pixel and 0 for the others.

    Where the depth is unknown every scale has the weight 1 / S (Sec. 6.3). The depth is sampled at the nearest pixel:
    depths mixed over the edge of an object would choose a scale that fits neither side.
    """
    sampled = F.interpolate(depth[:, None], size, mode="nearest-exact")[:, 0]
    bins, scales = scale_bins(sampled, thresholds, unit)[:, None], len(thresholds) + 1
    chosen = bins == torch.arange(scales, device=depth.device)[:, None, None]
    return torch.where(bins < 0, 1 / scales, chosen.to(depth.dtype))
