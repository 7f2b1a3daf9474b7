"""Pool maps to grids and regions by matrix products, which export at any image size."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor

from .resize import interpolation_matrix


def averaging_matrix(size: int, bins: int, like: Tensor) -> Tensor:
    """Return the matrix (bins, size) whose rows average the bins of a line of ``size`` positions.

    Row b averages positions floor(b size / bins) .. ceil((b + 1) size / bins) - 1.

    Args:
        size: length of the line.
        bins: number of bins.
        like: tensor whose device and dtype the matrix has.
    """
    position = torch.arange(size, device=like.device)
    bin_ = torch.arange(bins, device=like.device)[:, None]
    start = bin_ * size // bins
    end = ((bin_ + 1) * size + bins - 1) // bins
    inside = (position >= start) & (position < end)
    return inside.to(like.dtype) / (end - start).to(like.dtype)


def pool_to_grids(x: Tensor, grids: Sequence[int], size: Sequence[int] | None = None) -> list[Tensor]:
    """Average-pool (B, C, H, W), resized to ``size`` first, to (B, C, b, b) for each b of ``grids``.

    Equal to ``F.adaptive_avg_pool2d(resize_to(x, size), b)``, without computing the resized map.
    Uses two matrix products, A_h x A_w^T, because the ATen operator freezes the traced image size when a network
    is exported: at any other size the exported network is silently wrong. The rows of all grids are stacked, so that
    a large map is read once; the diagonal blocks of the product are the grids.
    """
    if not grids:
        return []

    def stack(side: int, target: int) -> Tensor:
        rows = torch.cat([averaging_matrix(target, bins, x) for bins in grids])
        return rows @ interpolation_matrix(side, target, x)

    height, width = size or x.shape[-2:]
    pooled = stack(x.shape[-2], height) @ x @ stack(x.shape[-1], width).T
    ends = list(itertools.accumulate(grids, initial=0))
    return [pooled[..., start:end, start:end] for start, end in itertools.pairwise(ends)]


def sum_of_grids(grids: Sequence[Tensor], size: Sequence[int]) -> Tensor:
    """Return the sum over b of (B, C, b, b) resized to (B, C, *size): ``sum(resize_to(grid, size) for grid in grids)``.

    Uses two matrix products that write each output once: several times as fast as interpolating grid by grid.
    """
    height, width = size
    tall = torch.cat([interpolation_matrix(grid.shape[-2], height, grid) @ grid for grid in grids], dim=-1)
    wide = torch.cat([interpolation_matrix(grid.shape[-1], width, grid).T for grid in grids])
    return tall @ wide


def average_to(x: Tensor, size: Sequence[int]) -> Tensor:
    """Average (B, C, h, w) down to (B, C, *size).

    Equal to ``F.adaptive_avg_pool2d``, and correct at every image size when exported (see :func:`pool_to_grids`).
    """
    return averaging_matrix(x.shape[-2], size[0], x) @ x @ averaging_matrix(x.shape[-1], size[1], x).T


def region_matrix(size: int, regions: int, like: Tensor, taps: int = 1) -> Tensor:
    """Return the matrix (regions * taps, size) of 0 and 1 that sums a line of ``size`` pixels p over its regions.

    Pixel p is in region floor(p regions / size). Unlike the bins of :func:`averaging_matrix`, regions partition the
    line: each pixel is in exactly one. A line shorter than the number of regions leaves some of them empty. With
    ``taps`` (odd), row ``b * taps + t`` sums, over the pixels p of region b, the pixels p + t - taps // 2 of the
    zero-padded line: the inputs of a convolution of that width.
    """
    tap = torch.arange(taps, device=like.device)[:, None] - taps // 2
    center = torch.arange(size, device=like.device) - tap
    region = torch.arange(regions, device=like.device)[:, None, None]
    inside = (center >= 0) & (center < size) & (center * regions // size == region)
    return inside.flatten(0, 1).to(like.dtype)
