"""Atrous pooling of DeepLabV3 and the decoder of DeepLabV3+ (Chen et al., ECCV 2018)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ..layers.conv import ConvNormAct, SingletonBatchNorm2d
from ..layers.resize import resize_to
from .base import ContextModule


class AtrousPooling(ContextModule):
    """Context map 1x1 * [1x1 * x, 3x3 * x at each rate, up(1x1 * mean(x))]: (B, C, h, w) -> (B, width, h, w).

    Every convolution has ``width`` channels, norm and ReLU. The mean over the image can be trained on a batch of
    one: see :class:`gatezoo.layers.conv.SingletonBatchNorm2d`.

    Args:
        in_channels: C.
        width: channels of the context map.
        rates: dilations; (12, 24, 36) are the authors' values at output stride 8.
        merge: module from the (2 + len(rates)) * width concatenated channels to ``width``; None for the 1x1.
    """

    def __init__(
        self, in_channels: int, width: int = 256, rates: Sequence[int] = (12, 24, 36), merge: nn.Module | None = None
    ):
        super().__init__()
        self.branches = nn.ModuleList(
            [ConvNormAct(in_channels, width, 1), *(ConvNormAct(in_channels, width, dilation=rate) for rate in rates)]
        )
        self.whole = ConvNormAct(in_channels, width, 1, norm=SingletonBatchNorm2d)
        self.merge = ConvNormAct(width * (2 + len(rates)), width, 1) if merge is None else merge
        self.out_channels = width

    def forward(self, x: Tensor) -> Tensor:
        whole = self.whole(x.mean((2, 3), keepdim=True)).expand(-1, -1, *x.shape[-2:])
        return self.merge(torch.cat([*(branch(x) for branch in self.branches), whole], 1))


class DeepLabV3PlusHead(nn.Module):
    """Classifier of the finest map and the context of the deepest, with logits at the finest map's size.

    Maps are given finest first; the logits are 1x1 * two 3x3 * [up(context(deepest)), 1x1 * finest].

    Args:
        in_channels: of the finest map.
        num_classes: K.
        context: module from the deepest map to the context map.
        low: number of channels that the finest map is reduced to.
        width: channels of the 3x3 convolutions.
        dropout: probability before the classifier.
    """

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        context: ContextModule,
        low: int = 48,
        width: int = 256,
        dropout: float = 0.1,
    ):
        super().__init__()
        self.context = context
        self.low = ConvNormAct(in_channels, low, 1)
        self.refine = nn.Sequential(ConvNormAct(context.out_channels + low, width), ConvNormAct(width, width))
        self.classify = nn.Sequential(nn.Dropout(dropout), nn.Conv2d(width, num_classes, 1))

    def forward(self, *maps: Tensor) -> Tensor:
        context = resize_to(self.context(maps[-1]), maps[0].shape[-2:])
        return self.classify(self.refine(torch.cat([context, self.low(maps[0])], 1)))
