"""Depth-aware gating: the size of the pooling field follows the scale of what is seen (Kong and Fowlkes, Sec. 3).

Scales are numbered from far to near: scale 0 is the smallest field (dilation 1), the last the largest (dilation 16).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..layers.conv import ConvNormAct

DILATIONS = (1, 2, 4, 8, 16)


class GateOutput(NamedTuple):
    """What a gate says of every pixel.

    Attributes:
        weights: of the scales, (B, S, h, w), 1 in sum.
        logits: of the scales, (B, S, h, w), where they are to be taught by depth; else None.
        log_depth: ln of the depth in metres, (B, 1, h, w); None of a gate that does not regress it.
    """

    weights: Tensor
    logits: Tensor | None = None
    log_depth: Tensor | None = None


def depth_trunk(channels: int) -> nn.Sequential:
    """1x1 to a quarter of the channels, 3x3 to a sixteenth: the trunk of the depth branch (512 -> 128 -> 32)."""
    return nn.Sequential(ConvNormAct(channels, channels // 4, 1), ConvNormAct(channels // 4, channels // 16))


def scale_classifier(channels: int, scales: int) -> nn.Sequential:
    """Dropout and a 1x1 convolution to the logits of the scales."""
    return nn.Sequential(nn.Dropout(0.1), nn.Conv2d(channels // 16, scales, 1))


class AttentionGate(nn.Module):
    """weights = softmax(logits), learnt from the segmentation alone (Sec. 6.4, "attention").

    Args:
        channels: of the map that it reads.
        scales: their number S.
    """

    def __init__(self, channels: int, scales: int):
        super().__init__()
        self.trunk = depth_trunk(channels)
        self.scale = scale_classifier(channels, scales)

    def forward(self, x: Tensor, given: Tensor | None = None) -> GateOutput:
        """Map (B, channels, h, w) -> weights of its pixels."""
        return GateOutput(self.scale(self.trunk(x)).softmax(1))


class PredictedGate(nn.Module):
    """weights = softmax(logits), with the logits taught to be the quantised depth, and ln depth beside them (Sec. 3).

    The softmax is taken here, once; losses read the logits. Arguments as of :class:`AttentionGate`.
    """

    def __init__(self, channels: int, scales: int):
        super().__init__()
        self.trunk = depth_trunk(channels)
        self.scale = scale_classifier(channels, scales)
        self.log_depth = nn.Conv2d(channels // 16, 1, 3, padding=1)
        # At 1 m everywhere: the first errors are as large as the depths, whatever the size of the map.
        nn.init.normal_(self.log_depth.weight, std=1e-3)
        nn.init.zeros_(self.log_depth.bias)

    def forward(self, x: Tensor, given: Tensor | None = None) -> GateOutput:
        """Map (B, channels, h, w) -> weights, logits and ln depth of its pixels."""
        seen = self.trunk(x)
        logits = self.scale(seen)
        return GateOutput(logits.softmax(1), logits, self.log_depth(seen))


class GroundTruthDepthGate(nn.Module):
    """weights = those of a depth that is given at the call (Fig. 4, "gt-depth")."""

    def __init__(self, channels: int, scales: int):
        super().__init__()

    def forward(self, x: Tensor, given: Tensor | None = None) -> GateOutput:
        """``given`` (B, S, h, w), see :func:`scale_weights`, as it is."""
        return GateOutput(given)


class AverageGate(nn.Module):
    """weights = 1 / S everywhere (Fig. 4, "avg."). With one scale it is the plain convolution of the baseline."""

    def __init__(self, channels: int, scales: int):
        super().__init__()
        self.scales = scales

    def forward(self, x: Tensor, given: Tensor | None = None) -> GateOutput:
        """Map (B, channels, h, w) -> weights (B, S, h, w)."""
        return GateOutput(torch.full_like(x[:, :1], 1 / self.scales).expand(-1, self.scales, -1, -1))


GATES: dict[str, type[nn.Module]] = {
    "predicted": PredictedGate,
    "given": GroundTruthDepthGate,
    "attention": AttentionGate,
    "average": AverageGate,
    "none": AverageGate,
}


class ScaleBranches(nn.Module):
    """Convolutions 3x3 of one map at several dilations, each with batch norm and ReLU: the pooling fields.

    Args:
        channels: C, of the map and of each branch.
        dilations: of the branches, from scale 0 upwards.
        tied: one kernel and one norm for all of them.
    """

    def __init__(self, channels: int, dilations: Sequence[int] = DILATIONS, tied: bool = False):
        super().__init__()
        self.dilations = tuple(dilations)
        self.convs = nn.ModuleList(ConvNormAct(channels, channels) for _ in range(1 if tied else len(dilations)))

    def branch(self, scale: int, x: Tensor) -> Tensor:
        """(B, C, h, w) -> (B, C, h, w), pooled at one scale."""
        conv, norm, act = self.convs[scale % len(self.convs)]
        dilation = self.dilations[scale]
        return act(norm(F.conv2d(x, conv.weight, conv.bias, padding=dilation, dilation=dilation)))

    def forward(self, x: Tensor, weights: Tensor) -> Tensor:
        """sum_k weights_k branch_k(x): (B, C, h, w), (B, S, h, w) -> (B, C, h, w)."""
        total = weights[:, :1] * self.branch(0, x)
        for k in range(1, len(self.dilations)):
            total = torch.addcmul(total, weights[:, k : k + 1], self.branch(k, x))
        return total

    def chosen(self, x: Tensor, choice: Tensor) -> Tensor:
        """branch_k(x) with k = choice at each pixel: (B, C, h, w), (B, h, w) -> (B, C, h, w).

        A pixel is computed at its own scale alone, a product of its 3x3 neighbours: the multiplications of one
        convolution. For inference: shapes depend on the numbers, so that it cannot be exported.
        """
        edge = max(self.dilations)
        padded = F.pad(x, (edge,) * 4).permute(0, 2, 3, 1)
        wide, rows = padded.shape[2], padded.reshape(-1, x.shape[1])
        out = torch.empty(*choice.shape, x.shape[1], dtype=x.dtype, device=x.device)
        for k, dilation in enumerate(self.dilations):
            batch, top, left = torch.nonzero(choice == k, as_tuple=True)
            if not len(batch):
                continue
            conv, norm, act = self.convs[k % len(self.convs)]
            centre = (batch * padded.shape[1] + top + edge) * wide + left + edge
            around = torch.arange(-1, 2, device=x.device) * dilation
            offsets = (around[:, None] * wide + around).flatten()
            taps = rows[centre[:, None] + offsets].flatten(1)
            kernel = conv.weight.permute(0, 2, 3, 1).flatten(1)
            out[batch, top, left] = act(norm(F.linear(taps, kernel, conv.bias)[..., None, None]))[..., 0, 0]
        return out.permute(0, 3, 1, 2)


class GatedPooling(nn.Module):
    """y = sum_k weights_k(x) branch_k(x): a gate and the branches that it weighs (Fig. 2).

    Attributes:
        hard: in evaluation mode, compute of every pixel the scale of the largest weight alone.
    """

    def __init__(self, gate: nn.Module, branches: ScaleBranches, hard: bool = False):
        super().__init__()
        self.gate, self.branches, self.hard = gate, branches, hard

    def forward(self, x: Tensor, given: Tensor | None = None) -> tuple[Tensor, GateOutput]:
        """Map (B, C, h, w) -> the pooled map (B, C, h, w), and what the gate said."""
        said = self.gate(x, given)
        if not self.hard or self.training:
            return self.branches(x, said.weights), said
        choice = said.weights.argmax(1)
        if x.is_meta or torch.compiler.is_compiling() or torch.compiler.is_exporting():
            one = F.one_hot(choice, said.weights.shape[1]).permute(0, 3, 1, 2).to(x.dtype)
            return self.branches(x, one), said
        return self.branches.chosen(x, choice), said
