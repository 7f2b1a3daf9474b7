"""Densely connected atrous pooling of DenseASPP (Yang et al., CVPR 2018)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ..layers.conv import ConvNormAct
from .base import ContextModule


class DenseASPP(ContextModule):
    """Densely connected dilated convolutions, y_k = H_k([y_{k-1}, ..., y_0]).

    H_k is a 1x1 and a 3x3 convolution with dilation rates[k - 1]. The context map is [y_0, ..., y_n],
    (B, C, h, w) -> (B, C / 2 + n width / 4, h, w).

    y_0 is the map reduced by a 1x1 convolution to C / 2 channels, as a transition of DenseNet does. With a
    DenseNet-121 and width 512 the channels are the authors': 512 between the convolutions, 128 out of each H.
    Every convolution is followed by norm and ReLU, as everywhere in GFF; DenseNet has them before the convolution.

    Args:
        in_channels: C.
        width: channels between the convolutions of each H.
        rates: dilation of each H.
        dropout: probability after each H.
    """

    def __init__(
        self, in_channels: int, width: int = 512, rates: Sequence[int] = (3, 6, 12, 18, 24), dropout: float = 0.1
    ):
        super().__init__()
        base, growth = in_channels // 2, width // 4
        self.reduce = ConvNormAct(in_channels, base, 1)
        self.steps = nn.ModuleList(
            nn.Sequential(
                ConvNormAct(base + number * growth, width, 1),
                ConvNormAct(width, growth, dilation=rate),
                nn.Dropout(dropout),
            )
            for number, rate in enumerate(rates)
        )
        self.out_channels = base + len(rates) * growth

    def forward(self, x: Tensor) -> Tensor:
        x = self.reduce(x)
        for step in self.steps:
            x = torch.cat([x, step(x)], 1)
        return x
