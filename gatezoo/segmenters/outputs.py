"""Outputs of semantic segmentation networks: of one pass, and of a whole call."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from torch import Tensor


@dataclass(frozen=True)
class PassOutput:
    """Output of one pass, at the resolution of its own maps until the network resizes it to the image.

    Only ``logits`` are always there: the rest is left out when it is not asked for.

    Attributes:
        logits: (B, K, h, w).
        gates: by number, as in :class:`SegmenterOutput`; None of a network that does not report gates.
        auxiliary: logits of the auxiliary heads, (B, K, h_l, w_l) each.
        scales: weights of the scales, (B, S, h, w).
        scale_logits: logits of the scales, (B, S, h, w).
        log_depth: ln of the depth in metres, (B, 1, h, w); (B, H, W) once it is resized to the image.
    """

    logits: Tensor
    gates: dict[int, Tensor] | None = None
    auxiliary: Sequence[Tensor] = ()
    scales: Tensor | None = None
    scale_logits: Tensor | None = None
    log_depth: Tensor | None = None


@dataclass
class SegmenterOutput:
    """Prediction of a semantic segmentation network, with the predictions and gates of every pass.

    Attributes:
        logits: (B, K, H, W), what ``forward`` returns.
        iterations: logits of each pass, first to last; the last is ``logits``.
        gates: of each pass, by block number: {i: (B, C_{i-1}, h, w)}. Empty for a pass without gates. Of fused levels,
            by level from the finest, and of scales, by scale from the farthest: {l: (B, 1 or width, h_l, w_l)}.
        auxiliary: logits of the auxiliary heads, as ``logits``: they only help training.
        scales: of each pass, the weights of the scales (B, S, h, w), at the size of the maps that they weigh; 1 in sum.
        scale_logits: their logits, of gates that predict the scale of a depth.
        log_depth: of each pass, ln of the depth in metres, (B, H, W), of networks that predict it.
    """

    logits: Tensor
    iterations: list[Tensor] = field(default_factory=list)
    gates: list[dict[int, Tensor]] = field(default_factory=list)
    auxiliary: list[Tensor] = field(default_factory=list)
    scales: list[Tensor] = field(default_factory=list)
    scale_logits: list[Tensor] = field(default_factory=list)
    log_depth: list[Tensor] = field(default_factory=list)

    @classmethod
    def collect(cls, passes: Sequence[PassOutput]) -> SegmenterOutput:
        """Collect the passes of a call, first to last; parts that a pass lacks are skipped."""
        return cls(
            passes[-1].logits,
            iterations=[one.logits for one in passes],
            gates=[one.gates for one in passes if one.gates is not None],
            auxiliary=[logits for one in passes for logits in one.auxiliary],
            scales=[one.scales for one in passes if one.scales is not None],
            scale_logits=[one.scale_logits for one in passes if one.scale_logits is not None],
            log_depth=[one.log_depth for one in passes if one.log_depth is not None],
        )
