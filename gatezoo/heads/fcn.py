"""Classifiers of the fully convolutional baselines that every paper starts from."""

from __future__ import annotations

from torch import nn

from ..layers.conv import ConvNormAct


class LinearHead(nn.Conv2d):
    """One 1x1 convolution: (B, C, h, w) -> (B, K, h, w). The stride-32 baseline's classifier."""

    def __init__(self, in_channels: int, num_classes: int):
        super().__init__(in_channels, num_classes, 1)


class FCNHead(nn.Sequential):
    """3x3 convolution, batch norm, ReLU, dropout, 1x1 convolution: (B, C, h, w) -> (B, K, h, w). The stride-8 one."""

    def __init__(self, in_channels: int, num_classes: int, width: int = 512, dropout: float = 0.1):
        super().__init__(
            ConvNormAct(in_channels, width),
            nn.Dropout(dropout),
            nn.Conv2d(width, num_classes, 1),
        )
