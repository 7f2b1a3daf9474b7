"""Head of GFF and of the methods it is compared with: context, fusion of the levels, refinement, joint classifier."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from ..gates.fusion import Fusion
from ..layers.conv import ConvNormAct
from ..layers.resize import sum_resized
from .base import ContextModule, GatedHead


class JointClassifier(nn.Conv2d):
    """1x1 convolution of the concatenation of maps of any sizes, at the size of the first.

    Computed as sum_l up(W_l * X_l) + b, which is equal: a 1x1 convolution and a bilinear resize commute. The K classes
    of a level are resized instead of its many channels.
    """

    bias: Tensor

    def __init__(self, channels: Sequence[int], num_classes: int):
        super().__init__(sum(channels), num_classes, 1)
        self.parts = tuple(channels)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:  # type: ignore[override]
        """Return logits (B, K, h_0, w_0) of maps [(B, channels[l], h_l, w_l)]."""
        weights = self.weight.split(self.parts, dim=1)
        scores = [F.conv2d(x, weight) for x, weight in zip(maps, weights, strict=True)]
        return sum_resized(scores, maps[0].shape[-2:]) + self.bias[:, None, None]


class FusionHead(GatedHead):
    """Classifier of the fused levels and the context map, with logits at the finest level's size.

    ::

        context = C(X_L);  X~ = fusion(X, context);  Z_l = two 3x3 * X~_l
        logits = 1x1 * dropout([Z_1 .. Z_L, context])

    or, with a pyramid, 1x1 * dropout(pyramid(Z, context)).

    Args:
        num_classes: K.
        context: module C from the deepest map to the context map.
        fusion: of ``levels`` raw maps into as many of ``width`` channels.
        levels: number L of the maps.
        width: channels of every fused map.
        pyramid: module between the levels and the classifier, such as the dense feature pyramid; None for none.
        dropout: probability before the classifier.
    """

    def __init__(
        self,
        num_classes: int,
        context: ContextModule,
        fusion: Fusion,
        levels: int,
        width: int,
        pyramid: nn.Module | None = None,
        dropout: float = 0.1,
    ):
        super().__init__()
        self.context, self.fusion, self.pyramid = context, fusion, pyramid
        stages = self.count_stages(levels)
        self.refine = nn.ModuleList(
            nn.Sequential(ConvNormAct(width, width), ConvNormAct(width, width)) for _ in range(stages)
        )
        self.dropout = nn.Dropout(dropout)
        last = context.out_channels if pyramid or stages == levels else width
        self.classify = JointClassifier([*[width] * stages, last], num_classes)

    @staticmethod
    def count_stages(levels: int) -> int:
        """Return how many of the fused levels are stages of the backbone: all of them."""
        return levels

    def fused_maps(self, maps: Sequence[Tensor], context: Tensor) -> Sequence[Tensor]:
        """Return the raw maps of the levels to fuse, given those of the backbone and the context map."""
        return maps

    def with_gates(self, *maps: Tensor) -> tuple[Tensor, dict[int, Tensor]]:
        context = self.context(maps[-1])
        fused, gates = self.fusion(self.fused_maps(maps, context), context)
        stages = len(self.refine)
        levels = [refine(x) for refine, x in zip(self.refine, fused[:stages], strict=True)]
        inputs = self.pyramid(levels, context) if self.pyramid else [*levels, *(fused[stages:] or [context])]
        return self.classify([self.dropout(x) for x in inputs]), gates

    def gate_modules(self) -> dict[int, nn.Module]:
        return self.fusion.gate_modules()


class ContextLevelHead(FusionHead):
    """Classifier of fused levels, the highest of which is the context map itself in place of the last stage.

    ::

        context = C(X_L);  X~ = fusion([X_1 .. X_{L-1}, context]);  Z_l = two 3x3 * X~_l, l = 1 .. L-1
        logits = 1x1 * dropout([Z_1 .. Z_{L-1}, X~_L])

    or, with a pyramid, 1x1 * dropout(pyramid(Z, context)): its y_0 is the output of the context module as it is, so
    that the highest level sends through its gate and what it receives is not read.
    """

    @staticmethod
    def count_stages(levels: int) -> int:
        """Return how many of the fused levels are stages of the backbone: all but the highest."""
        return levels - 1

    def fused_maps(self, maps: Sequence[Tensor], context: Tensor) -> Sequence[Tensor]:
        return [*maps[:-1], context]
