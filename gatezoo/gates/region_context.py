"""Region context encoding: exchange context between all regions of a map (ZigZagNet, Sec. 4, eqs. 5 and 6)."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..layers.grid_pool import matmul_columns, region_matrix
from ..utils.choices import check_choice

POOLS = ("mean", "sum")


@dataclass(frozen=True)
class RegionMatrices:
    """Matrices that sum a map (H, W) over K x K regions for each K of ``regions``, stacked to read a large map once.

    Attributes:
        rows: for each K, (K, H), sums over the rows of a region.
        columns: for all K, (sum of K, W), sums over the columns of a region.
        rows_read, columns_read: (3 sum of K, H) and (3 sum of K, W), sums of the inputs of each tap of a 3 x 3 kernel.
        areas: for each K, (K, K), the number of pixels of each region, at least 1.
        starts: first index of each K in the sum of K, and the end.
    """

    rows: list[Tensor]
    columns: Tensor
    rows_read: Tensor
    columns_read: Tensor
    areas: list[Tensor]
    starts: list[int]

    @classmethod
    def of(cls, x: Tensor, regions: Sequence[int]) -> RegionMatrices:
        """Return the matrices of a map (B, C, H, W)."""
        rows_read, columns_read = (region_matrix(side, regions, x, taps=3) for side in x.shape[-2:])
        # The middle tap of a region reads the region itself.
        rows, columns = rows_read[1::3], columns_read[1::3]
        sides = [side.split(list(regions)) for side in (rows.sum(1), columns.sum(1))]
        areas = [(tall[:, None] * wide).clamp(min=1) for tall, wide in zip(*sides, strict=True)]
        starts = list(itertools.accumulate(regions, initial=0))
        return cls(list(rows.split(list(regions))), columns, rows_read, columns_read, areas, starts)


class RegionContext(nn.Module):
    """Encoding of a map with the context of its regions: (B, C, H, W) -> (B, C, H, W).

    R = F + sum over K of Q_K at the region of each pixel::

        M_K(x, y) = mean over the region S(x, y) of (W_3x3 * F)         K x K regions, row h in region floor(h K / H)
        Q_K       = transposed conv_KxK(relu(conv_KxK(M_K)))            K x K -> 1 x 1 -> K x K, no padding

    The paper sums inside a region, which ties the weights to one image size, although it tests at five. The mean is
    therefore the default; "sum" is the paper's version. The 3x3 convolution and the pooling are linear, so F is pooled
    first, once for each of the nine taps of the kernel, and the kernel is applied to K x K values instead of H x W.
    A map with fewer than K rows or columns leaves regions empty; their mean is 0.

    Args:
        channels: C.
        regions: the values of K; an empty sequence makes the module the identity.
        groups: of the K x K convolutions; each pair has 2 K^2 C^2 / groups weights.
        pool: "mean" or "sum".

    Raises:
        ValueError: a K below 1 or given twice, groups that do not divide the channels, or an unknown pool.
    """

    def __init__(self, channels: int, regions: Sequence[int] = (3, 5, 7), groups: int = 1, pool: str = "mean"):
        super().__init__()
        self.regions = tuple(regions)
        if any(k < 1 for k in self.regions) or len(set(self.regions)) < len(self.regions):
            raise ValueError(f"regions must be different numbers, each at least 1; got {self.regions}: pass (3, 5, 7)")
        if groups < 1 or channels % groups:
            raise ValueError(f"groups must divide the {channels} channels; got {groups}: pass a divisor")
        self.pool = check_choice("pool", pool, POOLS)
        # No bias: the biases of ``gather`` would be redundant with it.
        self.branches = nn.ModuleList(nn.Conv2d(channels, channels, 3, bias=False) for _ in self.regions)
        self.gather = nn.ModuleList(nn.Conv2d(channels, channels, k, groups=groups) for k in self.regions)
        self.spread = nn.ModuleList(nn.ConvTranspose2d(channels, channels, k, groups=groups) for k in self.regions)

    def forward(self, x: Tensor, matrices: RegionMatrices | None = None) -> Tensor:
        """Encode a map.

        Args:
            x: (B, C, H, W).
            matrices: those of the map's size, if several encodings share them; made here by default.
        """
        if not self.regions:
            return x
        matrices = matrices or RegionMatrices.of(x, self.regions)
        pooled = matrices.rows_read @ x @ matrices.columns_read.T
        encoded = []
        # The element types of a ModuleList are unknown to type checkers.
        convs = cast(
            "Iterable[tuple[nn.Conv2d, nn.Conv2d, nn.ConvTranspose2d]]", zip(self.branches, self.gather, self.spread)
        )
        for index, (branch, gather, spread) in enumerate(convs):
            start, end = 3 * matrices.starts[index], 3 * matrices.starts[index + 1]
            summed = F.conv2d(pooled[..., start:end, start:end], branch.weight, stride=3)
            if self.pool == "mean":
                summed = summed / matrices.areas[index]
            encoded.append(matrices.rows[index].T @ _spread(spread, _gather(gather, summed).relu()))
        return x + matmul_columns(torch.cat(encoded, -1), matrices.columns)


def _gather(conv: nn.Conv2d, x: Tensor) -> Tensor:
    """Return ``conv(x)`` of a map as large as the kernel, (B, C, K, K) -> (B, C), by a matrix product.

    A convolution would copy its many weights to another layout in every call, for a single position.
    """
    assert conv.bias is not None
    weight = conv.weight.reshape(conv.groups, conv.out_channels // conv.groups, -1)
    taps = x.reshape(len(x), conv.groups, -1).transpose(0, 1)
    return (taps @ weight.mT).transpose(0, 1).reshape(len(x), -1) + conv.bias


def _spread(conv: nn.ConvTranspose2d, x: Tensor) -> Tensor:
    """Return ``conv(x[..., None, None])`` of a single position, (B, C) -> (B, C, K, K), by a matrix product."""
    assert conv.bias is not None
    weight = conv.weight.reshape(conv.groups, conv.in_channels // conv.groups, -1)
    values = (x.reshape(len(x), conv.groups, -1).transpose(0, 1) @ weight).transpose(0, 1)
    return values.reshape(len(x), conv.out_channels, *conv.kernel_size) + conv.bias[:, None, None]
