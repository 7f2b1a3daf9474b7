"""Pyramid pooling of PSPNet (Zhao et al., CVPR 2017)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ..layers.conv import ConvNormAct, SingletonBatchNorm2d
from ..layers.grid_pool import pool_to_grids
from ..layers.resize import resize_to
from .base import ContextModule


class PyramidPooling(ContextModule):
    """Context map of the whole image, relu(norm(3x3 * [x, up(P_b) for b in bins])): (B, C, h, w) -> (B, width, h, w).

    P_b = relu(norm(1x1 * pool_b(x))) has C / len(bins) channels, for a grid of b x b regions. The 1 x 1 grid can be
    trained on a batch of one: see :class:`gatezoo.layers.conv.SingletonBatchNorm2d`.

    Args:
        in_channels: C.
        width: channels of the context map.
        bins: sides of the grids.
    """

    def __init__(self, in_channels: int, width: int = 512, bins: Sequence[int] = (1, 2, 3, 6)):
        super().__init__()
        self.bins = tuple(bins)
        self.out_channels = width
        part = in_channels // len(self.bins)
        self.branches = nn.ModuleList(ConvNormAct(in_channels, part, 1, norm=SingletonBatchNorm2d) for _ in self.bins)
        self.merge = ConvNormAct(in_channels + part * len(self.bins), width)

    def forward(self, x: Tensor) -> Tensor:
        grids = zip(self.branches, pool_to_grids(x, self.bins), strict=True)
        return self.merge(torch.cat([x, *(resize_to(branch(grid), x.shape[-2:]) for branch, grid in grids)], 1))
