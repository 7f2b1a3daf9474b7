"""Tensor plumbing shared by gates and heads. Knows nothing of gates, models or weights."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class ConvNormAct(nn.Sequential):
    """Convolution without bias, batch norm, ReLU: (B, C_in, H, W) -> (B, C_out, H, W).

    Args:
        norm: the kind of batch norm; :class:`PooledNorm` behind a pool to a single position.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int = 3,
        dilation: int = 1,
        norm: type[nn.BatchNorm2d] = nn.BatchNorm2d,
    ):
        super().__init__(
            nn.Conv2d(
                in_channels,
                out_channels,
                kernel_size,
                padding=dilation * (kernel_size // 2),
                dilation=dilation,
                bias=False,
            ),
            norm(out_channels),
            nn.ReLU(inplace=True),
        )


class PooledNorm(nn.BatchNorm2d):
    """Batch norm of maps pooled to a single position, which can also train on a batch of one.

    One value a channel has no variance, and torch refuses it in training. Its running statistics are used then, and
    left as they are: for that batch the layer is what it is in evaluation.
    """

    def forward(self, x: Tensor) -> Tensor:
        if self.training and x.numel() == x.shape[1]:
            return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)
        return super().forward(x)


def _is_traced() -> bool:
    return torch.compiler.is_compiling() or torch.compiler.is_exporting()


def resize_to(x: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize (B, C, h, w) bilinearly to (B, C, *size), pixel centres aligned (``align_corners=False``)."""
    # Not while tracing: the comparison would tie an exported network to pictures that compare as the traced one did.
    if not _is_traced() and x.shape[-2:] == tuple(size):
        return x
    return F.interpolate(x, size=size, mode="bilinear", align_corners=False)


def alike(maps: Sequence[Tensor]) -> list[list[int]]:
    """Numbers of the maps of each size, in order: [[0], [1, 2, 3]]. While tracing every map stands alone."""
    groups: dict[object, list[int]] = {}
    for number, x in enumerate(maps):
        groups.setdefault(number if _is_traced() else x.shape[-2:], []).append(number)
    return list(groups.values())


def added(maps: Iterable[Tensor]) -> Tensor:
    """Their sum. Python's own begins with 0 + the first, one more reading and writing of a whole map."""
    return functools.reduce(torch.add, maps)


def sum_resized(maps: Sequence[Tensor], size: tuple[int, int]) -> Tensor:
    """``added(resize_to(x, size) for x in maps)``; maps of one size are added first, then resized once."""
    return added(resize_to(added(maps[number] for number in group), size) for group in alike(maps))


def averaging_matrix(size: int, bins: int, like: Tensor) -> Tensor:
    """Matrix (bins, size) whose row b averages positions floor(b size / bins) .. ceil((b + 1) size / bins) - 1."""
    position = torch.arange(size, device=like.device)
    bin_ = torch.arange(bins, device=like.device)[:, None]
    start = bin_ * size // bins
    end = ((bin_ + 1) * size + bins - 1) // bins
    inside = (position >= start) & (position < end)
    return inside.to(like.dtype) / (end - start).to(like.dtype)


def interpolation_matrix(size: int, target: int, like: Tensor) -> Tensor:
    """Matrix (target, size) whose product with a map's rows is their bilinear resize, as :func:`resize_to` does it."""
    source = (torch.arange(target, device=like.device) + 0.5) * size / target - 0.5
    distance = source.clamp(0, size - 1)[:, None] - torch.arange(size, device=like.device)
    return (1 - distance.abs()).clamp(min=0).to(like.dtype)


def pool_to_grids(x: Tensor, grids: Sequence[int], size: tuple[int, int] | None = None) -> list[Tensor]:
    """Average pool (B, C, H, W), first resized to ``size``, to (B, C, b, b) for each b of ``grids``.

    The numbers of ``F.adaptive_avg_pool2d(resize_to(x, size), b)``; the resized map is never made.
    Two matrix products, A_h x A_w^T, because the ATen operator freezes the traced picture size when a network
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
