"""Region context encoding: every region of a map tells all others what it holds (ZigZagNet, Sec. 4, eqs. 5 and 6)."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..layers import region_matrix

POOLS = ("mean", "sum")


class RegionContext(nn.Module):
    """R = F + sum over K of Q_K at the region of each pixel: (B, C, H, W) -> (B, C, H, W).

    ::

        M_K(x, y) = mean over the region S(x, y) of (W_3x3 * F)         K x K regions, row h in region floor(h K / H)
        Q_K       = transposed conv_KxK(relu(conv_KxK(M_K)))            K x K -> 1 x 1 -> K x K, no padding

    The paper sums inside a region, which ties the weights to one size of picture, while it tests at five: the mean is
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
        if pool not in POOLS:
            raise ValueError(f"pool must be one of {', '.join(POOLS)}; got {pool!r}")
        self.pool = pool
        # No bias: those of ``gather`` would say the same.
        self.branches = nn.ModuleList(nn.Conv2d(channels, channels, 3, bias=False) for _ in self.regions)
        self.gather = nn.ModuleList(nn.Conv2d(channels, channels, k, groups=groups) for k in self.regions)
        self.spread = nn.ModuleList(nn.ConvTranspose2d(channels, channels, k, groups=groups) for k in self.regions)

    def forward(self, x: Tensor) -> Tensor:
        if not self.regions:
            return x
        height, width = x.shape[-2:]
        tall, wide = [], []
        pairs = zip(self.regions, self._pooled(x), self.branches, self.gather, self.spread, strict=True)
        for k, pooled, branch, gather, spread in pairs:
            rows, columns = region_matrix(height, k, x), region_matrix(width, k, x)
            summed = F.conv2d(pooled, branch.weight, stride=3)
            if self.pool == "mean":
                summed = summed / (rows.sum(1)[:, None] * columns.sum(1)).clamp(min=1)
            tall.append(rows.T @ spread(gather(summed).relu()))
            wide.append(columns)
        return x + torch.cat(tall, -1) @ torch.cat(wide)

    def _pooled(self, x: Tensor) -> list[Tensor]:
        """For each K (B, C, 3 K, 3 K): the sum over a region's pixels of what each of the 3 x 3 taps reads.

        The rows of all K are stacked, so that a large map is read once.
        """
        rows, columns = (torch.cat([region_matrix(side, k, x, taps=3) for k in self.regions]) for side in x.shape[-2:])
        pooled = rows @ x @ columns.T
        ends = [3 * end for end in itertools.accumulate(self.regions, initial=0)]
        return [pooled[..., start:end, start:end] for start, end in itertools.pairwise(ends)]
