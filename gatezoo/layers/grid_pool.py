"""Pooling to grids by averaging matrices, which export at any size."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor

from .resize import interpolation_matrix


def averaging_matrix(size: int, bins: int, like: Tensor) -> Tensor:
    """Matrix (bins, size) whose row b averages positions floor(b size / bins) .. ceil((b + 1) size / bins) - 1."""
    position = torch.arange(size, device=like.device)
    bin_ = torch.arange(bins, device=like.device)[:, None]
    start = bin_ * size // bins
    end = ((bin_ + 1) * size + bins - 1) // bins
    inside = (position >= start) & (position < end)
    return inside.to(like.dtype) / (end - start).to(like.dtype)


def pool_to_grids(x: Tensor, grids: Sequence[int], size: tuple[int, int] | None = None) -> list[Tensor]:
    """Average pool (B, C, H, W), first resized to ``size``, to (B, C, b, b) for each b of ``grids``.

    The numbers of ``F.adaptive_avg_pool2d(resize_to(x, size), b)``; the resized map is never made.
    Two matrix products, A_h x A_w^T, because the ATen operator freezes the traced image size when a network
    is exported: at any other size the exported network is silently wrong. The rows of all grids are stacked, so that
    a large map is read once; of the products of their rows, the blocks on the diagonal are the grids.
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


def sum_of_grids(grids: Sequence[Tensor], size: tuple[int, int]) -> Tensor:
    """Sum over b of (B, C, b, b) resized to (B, C, *size): ``sum(resize_to(grid, size) for grid in grids)``.

    Two matrix products, each output written once: several times as fast as interpolating grids one by one.
    """
    height, width = size
    tall = torch.cat([interpolation_matrix(grid.shape[-2], height, grid) @ grid for grid in grids], dim=-1)
    wide = torch.cat([interpolation_matrix(grid.shape[-1], width, grid).T for grid in grids])
    return tall @ wide


def average_to(x: Tensor, size: tuple[int, int]) -> Tensor:
    """Average (B, C, h, w) down to (B, C, *size): the numbers of ``F.adaptive_avg_pool2d``, right at every size when
    exported (see :func:`pool_to_grids`).
    """
    return averaging_matrix(x.shape[-2], size[0], x) @ x @ averaging_matrix(x.shape[-1], size[1], x).T


def region_matrix(size: int, regions: int, like: Tensor, taps: int = 1) -> Tensor:
    """Matrix (regions * taps, size) of 0 and 1 that sums a line of ``size`` pixels p over its regions.

    Pixel p is in region floor(p regions / size). Unlike the bins of :func:`averaging_matrix` these partition the line:
    each pixel is in one region alone. Of a line shorter than the number of regions some are empty. With ``taps`` (odd)
    row ``b * taps + t`` sums, over the pixels p of region b, the pixels p + t - taps // 2 of the line padded with
    zeros: what a convolution of that width reads.
    """
    tap = torch.arange(taps, device=like.device)[:, None] - taps // 2
    centre = torch.arange(size, device=like.device) - tap
    region = torch.arange(regions, device=like.device)[:, None, None]
    inside = (centre >= 0) & (centre < size) & (centre * regions // size == region)
    return inside.flatten(0, 1).to(like.dtype)
