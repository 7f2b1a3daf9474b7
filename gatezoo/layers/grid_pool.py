"""Pool maps to grids and regions by matrix products, which export at any image size."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor

from .resize import interpolation_matrices, interpolation_matrix, is_tracing, stack_positions


def averaging_matrix(size: int, bins: int, like: Tensor) -> Tensor:
    """Return the matrix (bins, size) whose rows average the bins of a line of ``size`` positions.

    Row b averages positions floor(b size / bins) .. ceil((b + 1) size / bins) - 1.

    Args:
        size: length of the line.
        bins: number of bins.
        like: tensor whose device and dtype the matrix has.
    """
    return _averaging(torch.arange(bins, device=like.device), bins, size, like)


def _averaging(bin_: Tensor, bins: int | Tensor, size: int, like: Tensor) -> Tensor:
    """Return the rows (n, size) of n bins, each one of ``bins``."""
    position = torch.arange(size, device=like.device)
    start = (bin_ * size // bins)[:, None]
    end = (((bin_ + 1) * size + bins - 1) // bins)[:, None]
    inside = (position >= start) & (position < end)
    return inside.to(like.dtype) / (end - start).to(like.dtype)


def matmul_columns(x: Tensor, matrix: Tensor) -> Tensor:
    """Return ``x @ matrix``: maps (B, C, h, w) times (w, v) are (B, C, h, v).

    For a product with a matrix, torch folds B, C and h into one dimension. While tracing it would compare that
    dimension with C, and so restrict the sizes of an exported network; a batch of matrices is not folded.
    """
    return x @ (matrix[None] if is_tracing() else matrix)


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
        return _averaging(*stack_positions(grids, x.device), target, x) @ interpolation_matrix(side, target, x)

    height, width = size or x.shape[-2:]
    pooled = stack(x.shape[-2], height) @ x @ stack(x.shape[-1], width).T
    ends = list(itertools.accumulate(grids, initial=0))
    return [pooled[..., start:end, start:end] for start, end in itertools.pairwise(ends)]


def sum_of_grids(grids: Sequence[Tensor], size: Sequence[int]) -> Tensor:
    """Return the sum over b of (B, C, b, b) resized to (B, C, *size): ``sum(resize_to(grid, size) for grid in grids)``.

    Uses two matrix products that write each output once: several times as fast as interpolating grid by grid.
    """
    sides = list(zip(*(grid.shape[-2:] for grid in grids), strict=True))
    rows, columns = (interpolation_matrices(side, target, grids[0]) for side, target in zip(sides, size, strict=True))
    tall = [part @ grid for part, grid in zip(rows.split(list(sides[0]), dim=1), grids, strict=True)]
    return matmul_columns(torch.cat(tall, dim=-1), columns.T)


def average_to(x: Tensor, size: Sequence[int]) -> Tensor:
    """Average (B, C, h, w) down to (B, C, *size).

    Equal to ``F.adaptive_avg_pool2d``, and correct at every image size when exported (see :func:`pool_to_grids`).
    """
    rows, columns = (averaging_matrix(side, bins, x) for side, bins in zip(x.shape[-2:], size, strict=True))
    return matmul_columns(rows @ x, columns.T)


def region_matrix(size: int, regions: Sequence[int], like: Tensor, taps: int = 1) -> Tensor:
    """Return the matrix of 0 and 1 that sums a line of ``size`` pixels p over its K regions, for each K of ``regions``.

    Pixel p is in region floor(p K / size). Unlike the bins of :func:`averaging_matrix`, regions partition the line:
    each pixel is in exactly one. A line shorter than K leaves some regions empty. The K * taps rows of each K follow
    one another; with ``taps`` (odd), row ``b * taps + t`` sums, over the pixels p of region b, the pixels
    p + t - taps // 2 of the zero-padded line: the inputs of a convolution of that width.

    Args:
        size: length of the line.
        regions: the numbers K.
        like: tensor whose device and dtype the matrix has.
        taps: width of the convolution.
    """
    row, rows = stack_positions([count * taps for count in regions], like.device)
    center = torch.arange(size, device=like.device) - (row % taps - taps // 2)[:, None]
    region = center * (rows // taps)[:, None] // size
    inside = (center >= 0) & (center < size) & (region == (row // taps)[:, None])
    return inside.to(like.dtype)
