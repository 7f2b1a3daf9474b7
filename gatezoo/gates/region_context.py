"""Region context encoding: every region of a map tells all others what it holds (ZigZagNet, Sec. 4, eqs. 5 and 6)."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..layers.grid_pool import region_matrix
from ..utils.choices import check_choice

POOLS = ("mean", "sum")


@dataclass(frozen=True)
class RegionMatrices:
    """Sums over the regions of a map (H, W), for K of ``regions``; stacked, so that a large map is read once.

    Attributes:
        rows, columns: for each K (K, H), and all in one (sum of K, W), that sum over regions.
        rows_read, columns_read: (3 sum of K, H) and (3 sum of K, W), that sum what each tap of a 3 x 3 kernel reads.
        areas: for each K (K, K), pixels of each region, at least 1.
        starts: of each K in the sum of K, and its end.
    """

    rows: list[Tensor]
    columns: Tensor
    rows_read: Tensor
    columns_read: Tensor
    areas: list[Tensor]
    starts: list[int]

    @classmethod
    def of(cls, x: Tensor, regions: Sequence[int]) -> RegionMatrices:
        """Those of a map (B, C, H, W)."""
        height, width = x.shape[-2:]
        rows, columns = ([region_matrix(side, k, x) for k in regions] for side in (height, width))
        areas = [(r.sum(1)[:, None] * c.sum(1)).clamp(min=1) for r, c in zip(rows, columns)]
        rows_read, columns_read = (
            torch.cat([region_matrix(side, k, x, taps=3) for k in regions]) for side in (height, width)
        )
        starts = list(itertools.accumulate(regions, initial=0))
        return cls(rows, torch.cat(columns), rows_read, columns_read, areas, starts)


class RegionContext(nn.Module):
    """R = F + sum over K of Q_K at the region of each pixel: (B, C, H, W) -> (B, C, H, W).

    ::

        M_K(x, y) = mean over the region S(x, y) of (W_3x3 * F)         K x K regions, row h in region floor(h K / H)
        Q_K       = transposed conv_KxK(relu(conv_KxK(M_K)))            K x K -> 1 x 1 -> K x K, no padding

    The paper sums inside a region, which ties the weights to one size of image, while it tests at five: the mean is
    the default, "sum" the letter. The 3x3 convolution is linear, and so is the pooling: what is pooled here is F, once
    for each of the nine places that the kernel reads, and the kernel is applied to K x K numbers in place of H x W.
    A map with fewer than K rows or columns leaves regions empty; theirs is 0.

    Args:
        channels: C.
        regions: the K; none makes it the identity.
        groups: of the K x K convolutions, which hold 2 K^2 C^2 / groups weights each pair.
        pool: "mean" or "sum".

    Raises:
        ValueError: a K below 1 or twice, groups that do not divide the channels, or another pool.
    """

    def __init__(self, channels: int, regions: Sequence[int] = (3, 5, 7), groups: int = 1, pool: str = "mean"):
        super().__init__()
        self.regions = tuple(regions)
        if any(k < 1 for k in self.regions) or len(set(self.regions)) < len(self.regions):
            raise ValueError(f"regions must be different numbers, each at least 1; got {self.regions}")
        if groups < 1 or channels % groups:
            raise ValueError(f"groups must divide the {channels} channels; got {groups}")
        self.pool = check_choice("pool", pool, POOLS)
        # No bias: those of ``gather`` would say the same.
        self.branches = nn.ModuleList(nn.Conv2d(channels, channels, 3, bias=False) for _ in self.regions)
        self.gather = nn.ModuleList(nn.Conv2d(channels, channels, k, groups=groups) for k in self.regions)
        self.spread = nn.ModuleList(nn.ConvTranspose2d(channels, channels, k, groups=groups) for k in self.regions)

    def forward(self, x: Tensor, matrices: RegionMatrices | None = None) -> Tensor:
        """Args: matrices of the map's size, where several encodings share them."""
        if not self.regions:
            return x
        matrices = matrices or RegionMatrices.of(x, self.regions)
        pooled = matrices.rows_read @ x @ matrices.columns_read.T
        told = []
        for number, (branch, gather, spread) in enumerate(zip(self.branches, self.gather, self.spread)):
            start, end = (3 * matrices.starts[number + more] for more in (0, 1))
            summed = F.conv2d(pooled[..., start:end, start:end], branch.weight, stride=3)
            if self.pool == "mean":
                summed = summed / matrices.areas[number]
            told.append(matrices.rows[number].T @ _spread(spread, _gathered(gather, summed).relu()))
        return x + torch.cat(told, -1) @ matrices.columns


def _gathered(conv: nn.Conv2d, x: Tensor) -> Tensor:
    """``conv(x)`` of a map no larger than the kernel, (B, C, K, K) -> (B, C): a product of matrices.

    As a convolution its many weights would be laid out anew in every call, for a single position.
    """
    weight = conv.weight.reshape(conv.groups, conv.out_channels // conv.groups, -1)
    taps = x.reshape(len(x), conv.groups, -1).transpose(0, 1)
    return (taps @ weight.mT).transpose(0, 1).reshape(len(x), -1) + conv.bias


def _spread(conv: nn.ConvTranspose2d, x: Tensor) -> Tensor:
    """``conv(x[..., None, None])`` of a single position, (B, C) -> (B, C, K, K), in the same way."""
    weight = conv.weight.reshape(conv.groups, conv.in_channels // conv.groups, -1)
    values = (x.reshape(len(x), conv.groups, -1).transpose(0, 1) @ weight).transpose(0, 1)
    return values.reshape(len(x), conv.out_channels, *conv.kernel_size) + conv.bias[:, None, None]
