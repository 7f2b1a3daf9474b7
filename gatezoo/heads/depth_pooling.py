"""Classifier with depth-aware pooling, used as the feed-forward head and as the recurrent module."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor, nn

from ..gates.depth import GatedPooling, GateOutput
from ..layers.conv import ConvNormAct


class HeadOutput(NamedTuple):
    """Output of a :class:`PoolingHead`.

    Attributes:
        reduced: map (B, C, h, w) after the first convolution.
        feature: map (B, C, h, w) before the classifier.
        logits: (B, K, h, w).
        gate: output of the gate of the pooling.
    """

    reduced: Tensor
    feature: Tensor
    logits: Tensor
    gate: GateOutput


class PoolingHead(nn.Module):
    """Gated pooling between a 3x3 convolution to C channels and a 1x1 convolution to the classes.

    As in Fig. 2 of Kong and Fowlkes::

        reduced = conv3x3(x);  feature = mix(pool(reduced));  logits = conv1x1(dropout(feature))

    The feed-forward head has neither ``mix`` nor dropout; the recurrent module has a 1x1 convolution and dropout.
    All convolutions but the last are followed by batch norm and ReLU, and initialized to preserve the magnitude of a
    map (He et al., 2015).

    Args:
        in_channels: of x.
        width: C.
        num_classes: K.
        pooling: of C channels.
        mix: module (B, C, h, w) -> (B, C, h, w) after the pooling; None for the identity.
        dropout: probability before the classifier.
    """

    def __init__(
        self,
        in_channels: int,
        width: int,
        num_classes: int,
        pooling: GatedPooling,
        mix: nn.Module | None = None,
        dropout: float = 0.0,
    ):
        super().__init__()
        self.reduce = ConvNormAct(in_channels, width)
        self.pooling = pooling
        self.mix = nn.Identity() if mix is None else mix
        self.drop = nn.Dropout(dropout)
        self.classify = nn.Conv2d(width, num_classes, 1)
        for module in self.modules():
            if isinstance(module, ConvNormAct):
                nn.init.kaiming_normal_(module.conv.weight, nonlinearity="relu")

    def forward(self, x: Tensor, given: Tensor | None = None) -> HeadOutput:
        """Classify a map.

        Args:
            x: (B, in_channels, h, w).
            given: gate of a given depth (B, S, h, w), if the pooling takes one.
        """
        reduced = self.reduce(x)
        pooled, gate = self.pooling(reduced, given)
        feature = self.mix(pooled)
        return HeadOutput(reduced, feature, self.classify(self.drop(feature)), gate)
