"""Classifiers of the fully convolutional baselines of the papers."""

from __future__ import annotations

from torch import Tensor, nn

from ..layers.conv import ConvNormAct


class LinearHead(nn.Conv2d):
    """Classifier of the stride-32 baseline, one 1x1 convolution: (B, C, h, w) -> (B, K, h, w)."""

    def __init__(self, in_channels: int, num_classes: int):
        super().__init__(in_channels, num_classes, 1)


class FCNHead(nn.Sequential):
    """Classifier of the stride-8 baseline: (B, C, h, w) -> (B, K, h, w).

    A 3x3 convolution, batch norm, ReLU, dropout and a 1x1 convolution.
    """

    def __init__(self, in_channels: int, num_classes: int, width: int = 512, dropout: float = 0.1):
        super().__init__(
            ConvNormAct(in_channels, width),
            nn.Dropout(dropout),
            nn.Conv2d(width, num_classes, 1),
        )


class FinestHead(nn.Module):
    """Classifier of the finest fused map, ``classify(fuse([map, ...])[0])``: maps, finest first -> (B, K, h_1, w_1)."""

    def __init__(self, fuse: nn.Module, classify: nn.Module):
        super().__init__()
        self.fuse = fuse
        self.classify = classify

    def forward(self, *maps: Tensor) -> Tensor:
        return self.classify(self.fuse(maps)[0])
