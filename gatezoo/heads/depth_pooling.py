"""Classifier with depth-aware pooling: the feed-forward head and the recurrent module are both of it."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor, nn

from ..gates.depth import GatedPooling, GateOutput
from ..layers.conv import ConvNormAct


class Loop(NamedTuple):
    """What one loop made: maps (B, C, h, w) after the first convolution and before the classifier, logits, gate."""

    reduced: Tensor
    feature: Tensor
    logits: Tensor
    said: GateOutput


class PoolingHead(nn.Module):
    """3x3 convolution to C channels, gated pooling, 1x1 convolution to the classes (Kong and Fowlkes, Fig. 2)::

        feed-forward:  reduced = conv3x3(x);  feature = pool(reduced);               logits = conv1x1(feature)
        recurrent:     reduced = conv3x3(x);  feature = conv1x1(pool(reduced));      logits = conv1x1(dropout(feature))

    Convolutions but the last are followed by batch norm and ReLU, and start so that a map keeps its size (He et al.,
    2015).

    Args:
        in_channels: of x.
        width: C.
        num_classes: K.
        pooling: of C channels.
        recurrent: with the further convolution and dropout of the recurrent module.
    """

    def __init__(self, in_channels: int, width: int, num_classes: int, pooling: GatedPooling, recurrent: bool = False):
        super().__init__()
        self.reduce = ConvNormAct(in_channels, width)
        self.pooling = pooling
        self.mix = ConvNormAct(width, width, 1) if recurrent else nn.Identity()
        self.drop = nn.Dropout(0.1 if recurrent else 0.0)
        self.classify = nn.Conv2d(width, num_classes, 1)
        for module in self.modules():
            if isinstance(module, ConvNormAct):
                nn.init.kaiming_normal_(module[0].weight, nonlinearity="relu")

    def forward(self, x: Tensor, given: Tensor | None = None) -> Loop:
        """x (B, in_channels, h, w), and the gate of a given depth (B, S, h, w) where the pooling takes one."""
        reduced = self.reduce(x)
        pooled, said = self.pooling(reduced, given)
        feature = self.mix(pooled)
        return Loop(reduced, feature, self.classify(self.drop(feature)), said)
