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
        self.refine = nn.ModuleList(
            nn.Sequential(ConvNormAct(width, width), ConvNormAct(width, width)) for _ in range(levels)
        )
        self.dropout = nn.Dropout(dropout)
        self.classify = JointClassifier([*[width] * levels, context.out_channels], num_classes)

    def with_gates(self, *maps: Tensor) -> tuple[Tensor, dict[int, Tensor]]:
        context = self.context(maps[-1])
        fused, gates = self.fusion(maps, context)
        levels = [refine(x) for refine, x in zip(self.refine, fused, strict=True)]
        inputs = self.pyramid(levels, context) if self.pyramid else [*levels, context]
        return self.classify([self.dropout(x) for x in inputs]), gates

    def gate_modules(self) -> dict[int, nn.Module]:
        return self.fusion.gate_modules()
