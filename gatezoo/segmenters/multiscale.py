"""A network on scaled copies of the image, whose predictions are weighed: the rival of gated pooling."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

from torch import Tensor, nn

from ..backbones.pyramid import Pyramid
from ..heads.depth_pooling import PoolingHead
from ..layers.resize import resize_to
from .base import SemanticSegmenter
from .outputs import SegmenterOutput


class MultiScaleSegmenter(SemanticSegmenter):
    """logits = sum_s w_s up(head(backbone(image scaled by s))), weights tied over the scales (Sec. 6.4).

    The w_s come from the maps before the classifier, resized to those of the largest copy.

    Args:
        gate: S maps -> weights (B, S, h, w).
        scales: of the copies, the largest first.
    """

    def __init__(
        self,
        backbone: Pyramid,
        head: PoolingHead,
        gate: nn.Module,
        scales: Sequence[float],
        num_classes: int,
        in_chans: int,
        freeze_bn: bool,
    ):
        super().__init__(backbone, head, num_classes, in_chans, freeze_bn)
        self.gate = gate
        # As fractions: an exported network computes its sizes from whole numbers.
        self.scales = [Fraction(scale).limit_denominator(64) for scale in scales]

    def forward(self, image: Tensor) -> Tensor:
        padded = self._check_and_pad(image)
        logits, _ = self._weighed(padded)
        return self._resize_to_input(logits, padded, image)

    def outputs(self, image: Tensor) -> SegmenterOutput:
        padded = self._check_and_pad(image)
        coarse, weights = self._weighed(padded)
        logits = self._resize_to_input(coarse, padded, image)
        return SegmenterOutput(logits, iterations=[logits], scales=[weights])

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        self.backbone.set_grad_checkpointing(enable)

    def _weighed(self, padded: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (B, K, h, w) and weights (B, S, h, w) at the size of the largest copy's map."""
        features, logits = [], []
        for scale in self.scales:
            size = tuple(side * scale.numerator // scale.denominator for side in padded.shape[-2:])
            loop = self.head(*self.backbone(self._pad(resize_to(padded, size))))
            target = (features or [loop.feature])[0].shape[-2:]
            features.append(resize_to(loop.feature, target))
            logits.append(resize_to(loop.logits, target))
        weights = self.gate(features)
        return sum(weights[:, s : s + 1] * each for s, each in enumerate(logits)), weights
