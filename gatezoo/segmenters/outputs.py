"""What a network can tell beyond its prediction."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor


@dataclass
class SegmenterOutput:
    """Everything a network has to say of a batch.

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
