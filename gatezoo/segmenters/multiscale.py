"""Networks on scaled copies of the image whose predictions are weighted: the alternative to gated pooling."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction

from torch import Tensor, nn

from ..backbones.pyramid import Pyramid
from ..backbones.wide_resnet import WiderResNet38
from ..heads.depth_pooling import HeadOutput, PoolingHead
from ..layers.resize import resize_to, sum_tensors
from .base import SemanticSegmenter
from .depth import DepthSegmenter, depth_output
from .depth_scale import DepthScale
from .outputs import PassOutput


class _ScaledCopies(SemanticSegmenter):
    """A network that runs one head on scaled copies of the image: a part of the two below."""

    head: PoolingHead
    scales: Sequence[Fraction]

    def set_scales(self, scales: Sequence[float]) -> None:
        """Set the scales of the copies, the largest first; as fractions, so that exported sizes are whole numbers."""
        self.scales = [Fraction(scale).limit_denominator(64) for scale in scales]

    def run_copies(self, padded: Tensor) -> list[HeadOutput]:
        """Run all copies, each with the output of the head at the size of its own map."""
        outputs = []
        for scale in self.scales:
            height, width = (side * scale.numerator // scale.denominator for side in padded.shape[-2:])
            outputs.append(self.head(*self.backbone(self._pad(resize_to(padded, (height, width))))))
        return outputs


def _weighted_logits(outputs: Sequence[HeadOutput], weights: Tensor) -> Tensor:
    """Compute sum_s w_s up(logits_s) at the size of the weights (B, S, h, w)."""
    logits = [resize_to(output.logits, weights.shape[-2:]) for output in outputs]
    return sum_tensors(weights[:, s : s + 1] * each for s, each in enumerate(logits))


class MultiScaleSegmenter(_ScaledCopies):
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
        self.set_scales(scales)

    def run_passes(self, padded: Tensor, details: bool) -> Iterator[PassOutput]:
        """Run all copies in one pass; logits and weights have the size of the largest copy's map."""
        outputs = self.run_copies(padded)
        weights = self.gate([resize_to(output.feature, outputs[0].feature.shape[-2:]) for output in outputs])
        yield PassOutput(_weighted_logits(outputs, weights), scales=weights)


class DepthMultiScaleSegmenter(DepthSegmenter, _ScaledCopies):
    """As :class:`MultiScaleSegmenter`, with the weights of a gate by depth: the nearer, the smaller the copy (Fig. 4).

    A pooling field of fixed size covers more of a smaller copy. The gate reads the largest copy's map, the one that it
    reads in :class:`~gatezoo.gates.depth.GatedPooling` too; of S copies, scale 0, the farthest, is the largest one.
    ``depth`` as in :class:`DepthSegmenter`.

    Args:
        backbone, head, scales, num_classes, in_chans, freeze_bn: as of :class:`MultiScaleSegmenter`.
        gate: (map (B, C, h, w), given weights or None) -> :class:`~gatezoo.gates.depth.GateOutput`.
        depth_scale: thresholds between the scales, and their unit.
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
        depth_scale: DepthScale,
    ):
        super().__init__(backbone, head, num_classes, in_chans, freeze_bn, depth_scale, gate)
        self.gate = gate
        self.set_scales(scales)

    def run_passes(self, padded: Tensor, details: bool, depth: Tensor | None = None) -> Iterator[PassOutput]:
        """Run all copies in one pass; logits, weights and depth have the size of the largest copy's map."""
        outputs = self.run_copies(padded)
        largest = outputs[0]
        gate = self.gate(largest.reduced, self._given_weights(depth, largest.reduced))
        combined = largest._replace(logits=_weighted_logits(outputs, gate.weights), gate=gate)
        yield depth_output(combined, details)
