"""Network on scaled copies of the image whose predictions are weighted: the alternative to gated pooling."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction

from torch import Tensor, nn

from ..backbones.pyramid import Pyramid
from ..backbones.wide_resnet import WiderResNet38
from ..heads.depth_pooling import PoolingHead
from ..layers.resize import resize_to, sum_tensors
from .base import SemanticSegmenter
from .outputs import PassOutput


class MultiScaleSegmenter(SemanticSegmenter):
    """logits = sum_s w_s up(head(backbone(image scaled by s))), weights tied over the scales (Sec. 6.4).

    The w_s come from the maps before the classifier, resized to those of the largest copy.

    Args:
        backbone: of the deepest map alone.
        head: classifies the map of each copy.
        gate: S maps -> weights (B, S, h, w).
        scales: of the copies, the largest first.
        num_classes: K.
        in_chans: channels of the image.
        freeze_bn: keep the statistics of the backbone's batch norm in training.
    """

    def __init__(
        self,
        backbone: Pyramid | WiderResNet38,
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

    def run_passes(self, padded: Tensor, details: bool) -> Iterator[PassOutput]:
        """Run all copies in one pass; logits and weights have the size of the largest copy's map."""
        features: list[Tensor] = []
        logits: list[Tensor] = []
        for scale in self.scales:
            height, width = (side * scale.numerator // scale.denominator for side in padded.shape[-2:])
            output = self.head(*self.backbone(self._pad(resize_to(padded, (height, width)))))
            target = (features or [output.feature])[0].shape[-2:]
            features.append(resize_to(output.feature, target))
            logits.append(resize_to(output.logits, target))
        weights = self.gate(features)
        yield PassOutput(sum_tensors(weights[:, s : s + 1] * each for s, each in enumerate(logits)), scales=weights)
