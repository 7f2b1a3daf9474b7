"""Modulator gate: turns a feedback signal into weights for a block's input (DIGNet, Sec. 3.3.2)."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from ..layers.grid_pool import pool_to_grids, sum_of_grids
from ..layers.resize import resize_to
from .base import open_gate


class Modulator(nn.Module):
    """gate = sigmoid(W * [F, up(pool_b(F)) for b in bins]), W a 1x1 convolution with bias, F a resized signal.

    Computed as sigmoid(up(W_0 * signal) + sum_b up(W_b * pool_b(F))), which is the same number: a 1x1 convolution and
    a bilinear resize commute, since the weights of the resize sum to 1. The concatenation of 5 C channels at full size
    and most of the multiplications are saved.

    Args:
        in_channels: channels of the signal F.
        out_channels: channels of the block input that the gate will multiply.
        bins: grid sizes of the spatial pyramid; empty for the plain 1x1 modulator of Table 1.
    """

    def __init__(self, in_channels: int, out_channels: int, bins: Sequence[int] = (1, 3, 5, 7)):
        super().__init__()
        self.bins = tuple(bins)
        self.weigh = open_gate(nn.Conv2d(in_channels * (1 + len(self.bins)), out_channels, 1))

    def forward(self, signal: Tensor, size: tuple[int, int]) -> Tensor:
        """Signal (B, in_channels, h, w) -> gate (B, out_channels, *size) in (0, 1)."""
        own, *pooled = self.weigh.weight.split(signal.shape[1], dim=1)
        weighed = resize_to(F.conv2d(signal, own, self.weigh.bias), size)
        if pooled:
            grids = zip(pooled, pool_to_grids(signal, self.bins, size), strict=True)
            weighed.add_(sum_of_grids([F.conv2d(grid, weight) for weight, grid in grids], size))
        return weighed.sigmoid_()  # in place: on a CPU, fresh memory costs more than the arithmetic
