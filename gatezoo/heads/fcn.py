"""Classifiers of the fully convolutional baselines that every paper starts from."""

from __future__ import annotations

from torch import Tensor, nn

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


class FinestHead(nn.Module):
    """``classify(fuse([map, ...])[0])``: maps of a pyramid, finest first -> (B, K, h_1, w_1)."""

    def __init__(self, fuse: nn.Module, classify: nn.Module):
        super().__init__()
        self.fuse = fuse
        self.classify = classify

    def forward(self, *maps: Tensor) -> Tensor:
        return self.classify(self.fuse(maps)[0])
