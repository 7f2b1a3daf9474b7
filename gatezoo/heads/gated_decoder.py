"""Decoder of DeepLabV3+ with gated fully fusion, as in the code of GFF's authors."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ..gates.fusion import GatedFullyFusion
from ..layers.conv import ConvNormAct
from ..layers.resize import resize_to
from .base import ContextModule, GatedHead


class DenseStep(nn.Sequential):
    """Two convolutions that follow norm and ReLU, a 1x1 and a dilated 3x3, as in DenseASPP.

    (B, C, h, w) -> (B, width, h, w).

    Args:
        in_channels: C.
        width: channels of both convolutions.
        rate: dilation of the 3x3.
    """

    def __init__(self, in_channels: int, width: int, rate: int):
        super().__init__(
            nn.BatchNorm2d(in_channels),
            nn.ReLU(inplace=True),
            nn.Conv2d(in_channels, width, 1),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
            nn.Conv2d(width, width, 3, padding=rate, dilation=rate),
        )


class GatedDecoderHead(GatedHead):
    """Classifier of gated fully fused levels, the highest of which is the context map, with a dilated dense pyramid.

    ::

        X_1 .. X_L, G_1 .. G_L = project([maps 1 .. L-1, context]);  X~ = fuse(X, G)
        y_1 = D_1(X~_L);  y_i = D_i([y_1, ..., y_{i-1}, X~_{L-i+1}])
        logits = 1x1 * two 3x3 * [y_1, X_L, y_2, ..., y_L]

    All y_i and X_L have the finest level's size. Each D_i is a :class:`DenseStep`; beyond the text, the unfused context
    X_L is classified, too.

    Args:
        num_classes: K.
        context: module from the deepest map to the context map.
        fusion: of the L levels into as many of ``width`` channels.
        width: channels of every level.
        rates: dilation of each D_i; there are L.
        refine_width: channels of the 3x3 convolutions before the classifier.

    Raises:
        ValueError: another number of rates than of levels.
    """

    def __init__(
        self,
        num_classes: int,
        context: ContextModule,
        fusion: GatedFullyFusion,
        width: int = 128,
        rates: Sequence[int] = (3, 6, 9),
        refine_width: int = 256,
    ):
        super().__init__()
        levels = len(fusion.lateral)
        if len(rates) != levels:
            raise ValueError(f"rates must be one for each of {levels} levels; got {list(rates)}: pass {levels} of them")
        self.context, self.fusion = context, fusion
        self.steps = nn.ModuleList(DenseStep(number * width, width, rate) for number, rate in enumerate(rates, start=1))
        self.refine = nn.Sequential(
            ConvNormAct((levels + 1) * width, refine_width), ConvNormAct(refine_width, refine_width)
        )
        self.classify = nn.Conv2d(refine_width, num_classes, 1, bias=False)

    def with_gates(self, *maps: Tensor) -> tuple[Tensor, dict[int, Tensor]]:
        laterals, gates = self.fusion.project([*maps[:-1], self.context(maps[-1])])
        fused, size = self.fusion.fuse(laterals, gates), maps[0].shape[-2:]
        outputs: list[Tensor] = []
        for step, x in zip(self.steps, reversed(fused), strict=True):
            outputs.append(step(torch.cat([*outputs, resize_to(x, size)], 1)))
        read = torch.cat([outputs[0], resize_to(laterals[-1], size), *outputs[1:]], 1)
        return self.classify(self.refine(read)), dict(enumerate(gates, start=1))

    def gate_modules(self) -> dict[int, nn.Module]:
        return self.fusion.gate_modules()
