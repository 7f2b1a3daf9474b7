"""Weights of scaled copies of an image (Chen et al., "Attention to Scale", CVPR 2016), instead of gated pooling."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ..layers.conv import ConvNormAct


class ScaleAttention(nn.Module):
    """Learned weights of S maps: softmax(W_2 * relu(norm(W_1 * [x_1 .. x_S]))), W_1 3x3 and W_2 1x1 with bias.

    Args:
        channels: C, of the map of each copy.
        scales: S, the number of copies.
    """

    def __init__(self, channels: int, scales: int):
        super().__init__()
        self.weigh = nn.Sequential(ConvNormAct(scales * channels, channels), nn.Conv2d(channels, scales, 1))

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Compute weights (B, S, h, w), which sum to 1, of S maps (B, C, h, w)."""
        return self.weigh(torch.cat(list(maps), 1)).softmax(1)


class ScaleAverage(nn.Module):
    """Equal weights 1 / S everywhere. Arguments as for :class:`ScaleAttention`."""

    def __init__(self, channels: int, scales: int):
        super().__init__()
        self.scales = scales

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Return weights (B, S, h, w) of S maps (B, C, h, w)."""
        return torch.full_like(maps[0][:, :1], 1 / self.scales).expand(-1, self.scales, -1, -1)


SCALE_GATES: dict[str, type[nn.Module]] = {"average": ScaleAverage, "attention": ScaleAttention}
