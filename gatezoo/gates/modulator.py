"""Modulator gate: turn a feedback signal into weights for the input of a block (DIGNet, Sec. 3.3.2)."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from ..layers.grid_pool import pool_to_grids, sum_of_grids
from ..layers.resize import resize_to
from .base import open_gate


class Modulator(nn.Module):
    """Gate from a spatial pyramid of the signal: sigmoid(W * [F, up(pool_b(F)) for b in bins]).

    W is a 1x1 convolution with bias, F the resized signal. Computed as
    sigmoid(up(W_0 * signal) + sum_b up(W_b * pool_b(F))), which is equal: a 1x1 convolution and a bilinear resize
    commute, since the weights of the resize sum to 1. This saves the concatenation of 5 C channels at full size and
    most of the multiplications.

    Args:
        in_channels: channels of the signal F.
        out_channels: channels of the block input that the gate multiplies.
        bins: grid sizes of the spatial pyramid; empty for the plain 1x1 modulator of Table 1.
    """

    def __init__(self, in_channels: int, out_channels: int, bins: Sequence[int] = (1, 3, 5, 7)):
        super().__init__()
        self.bins = tuple(bins)
        self.weigh = open_gate(nn.Conv2d(in_channels * (1 + len(self.bins)), out_channels, 1))

    def forward(self, signal: Tensor, size: Sequence[int]) -> Tensor:
        """Compute the gate (B, out_channels, *size) in (0, 1) of a signal (B, in_channels, h, w)."""
        unpooled, *pooled = self.weigh.weight.split(signal.shape[1], dim=1)
        weighed = resize_to(F.conv2d(signal, unpooled, self.weigh.bias), size)
        if pooled:
            grids = zip(pooled, pool_to_grids(signal, self.bins, size), strict=True)
            weighed.add_(sum_of_grids([F.conv2d(grid, weight) for weight, grid in grids], size))
        return weighed.sigmoid_()  # in place: on a CPU, new memory costs more than the arithmetic
