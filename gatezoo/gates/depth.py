"""Depth-aware gating: the pooling field of a pixel follows the scale of the scene (Kong and Fowlkes, Sec. 3).

Scales are numbered from far to near: scale 0 is the smallest field (dilation 1), the last the largest (dilation 16).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..layers.conv import ConvNormAct
from ..layers.resize import is_tracing

DILATIONS = (1, 2, 4, 8, 16)


class GateOutput(NamedTuple):
    """Output of a gate for every pixel.

    Attributes:
        weights: of the scales, (B, S, h, w); their sum is 1.
        logits: of the scales, (B, S, h, w), if they are supervised by depth; else None.
        log_depth: ln of the depth in metres, (B, 1, h, w), if the gate regresses it; else None.
    """

    weights: Tensor
    logits: Tensor | None = None
    log_depth: Tensor | None = None


def depth_trunk(channels: int) -> nn.Sequential:
    """Return the trunk of the depth branch: 1x1 to a quarter of the channels, 3x3 to a sixteenth (512 -> 128 -> 32)."""
    return nn.Sequential(ConvNormAct(channels, channels // 4, 1), ConvNormAct(channels // 4, channels // 16))


def scale_classifier(channels: int, scales: int) -> nn.Sequential:
    """Return dropout and a 1x1 convolution to the logits of the scales."""
    return nn.Sequential(nn.Dropout(0.1), nn.Conv2d(channels // 16, scales, 1))


class AttentionGate(nn.Module):
    """Gate learned from the segmentation alone, weights = softmax(logits) (Sec. 6.4, "attention").

    Args:
        channels: of the input map.
        scales: number of scales S.
    """

    def __init__(self, channels: int, scales: int):
        super().__init__()
        self.trunk = depth_trunk(channels)
        self.scale = scale_classifier(channels, scales)

    def forward(self, x: Tensor, given: Tensor | None = None) -> GateOutput:
        """Compute the weights of a map (B, channels, h, w); ``given`` is ignored."""
        return GateOutput(self.scale(self.trunk(x)).softmax(1))


class PredictedGate(nn.Module):
    """Gate whose logits classify the quantized depth, weights = softmax(logits), and that regresses ln depth (Sec. 3).

    The softmax is applied here, once; losses read the logits. Arguments as for :class:`AttentionGate`.
    """

    def __init__(self, channels: int, scales: int):
        super().__init__()
        self.trunk = depth_trunk(channels)
        self.scale = scale_classifier(channels, scales)
        self.log_depth = nn.Conv2d(channels // 16, 1, 3, padding=1)
        # 1 m everywhere, so that the first errors are of the order of the depths for a map of any magnitude.
        assert self.log_depth.bias is not None
        nn.init.normal_(self.log_depth.weight, std=1e-3)
        nn.init.zeros_(self.log_depth.bias)

    def forward(self, x: Tensor, given: Tensor | None = None) -> GateOutput:
        """Compute weights, logits and ln depth of a map (B, channels, h, w); ``given`` is ignored."""
        features = self.trunk(x)
        logits = self.scale(features)
        return GateOutput(logits.softmax(1), logits, self.log_depth(features))


class GroundTruthDepthGate(nn.Module):
    """Gate of a depth that is passed at the call (Fig. 4, "gt-depth"). It has no parameters."""

    def __init__(self, channels: int, scales: int):
        super().__init__()

    def forward(self, x: Tensor, given: Tensor | None = None) -> GateOutput:
        """Return ``given`` (B, S, h, w), see :func:`gatezoo.layers.depth_bins.scale_weights`, unchanged."""
        assert given is not None
        return GateOutput(given)


class AverageGate(nn.Module):
    """Equal weights 1 / S everywhere (Fig. 4, "avg."); with one scale, the plain convolution of the baseline."""

    def __init__(self, channels: int, scales: int):
        super().__init__()
        self.scales = scales

    def forward(self, x: Tensor, given: Tensor | None = None) -> GateOutput:
        """Return the weights (B, S, h, w) of a map (B, channels, h, w); ``given`` is ignored."""
        return GateOutput(torch.full_like(x[:, :1], 1 / self.scales).expand(-1, self.scales, -1, -1))


DEPTH_GATES: dict[str, type[nn.Module]] = {
    "predicted": PredictedGate,
    "given": GroundTruthDepthGate,
    "attention": AttentionGate,
    "average": AverageGate,
    "none": AverageGate,
}


class ScaleBranches(nn.Module):
    """3x3 convolutions of one map at several dilations, each with batch norm and ReLU: the pooling fields.

    Args:
        channels: C, of the map and of each branch.
        dilations: of the branches, from scale 0 upwards.
        tied: share one kernel and one norm among all branches.
    """

    def __init__(self, channels: int, dilations: Sequence[int] = DILATIONS, tied: bool = False):
        super().__init__()
        self.dilations = tuple(dilations)
        self.convs = nn.ModuleList(ConvNormAct(channels, channels) for _ in range(1 if tied else len(dilations)))

    def _layers(self, scale: int) -> tuple[nn.Conv2d, nn.Module, nn.Module]:
        block = cast(ConvNormAct, self.convs[scale % len(self.convs)])
        return block.conv, block[1], block[2]

    def branch(self, scale: int, x: Tensor) -> Tensor:
        """Pool (B, C, h, w) at one scale, to the same shape."""
        conv, norm, act = self._layers(scale)
        dilation = self.dilations[scale]
        return act(norm(F.conv2d(x, conv.weight, conv.bias, padding=dilation, dilation=dilation)))

    def forward(self, x: Tensor, weights: Tensor) -> Tensor:
        """Compute sum_k weights_k branch_k(x): (B, C, h, w), (B, S, h, w) -> (B, C, h, w)."""
        total = weights[:, :1] * self.branch(0, x)
        for k in range(1, len(self.dilations)):
            total = torch.addcmul(total, weights[:, k : k + 1], self.branch(k, x))
        return total

    def forward_hard(self, x: Tensor, choice: Tensor) -> Tensor:
        """Compute branch_k(x) with k = choice at each pixel: (B, C, h, w), (B, h, w) -> (B, C, h, w).

        Each pixel is computed at its scale alone, as a product with its 3x3 neighbors: the multiplications of a single
        convolution. For inference only: shapes depend on values, so that it cannot be exported.
        """
        edge = max(self.dilations)
        padded = F.pad(x, (edge,) * 4).permute(0, 2, 3, 1)
        wide, rows = padded.shape[2], padded.reshape(-1, x.shape[1])
        out = torch.empty(*choice.shape, x.shape[1], dtype=x.dtype, device=x.device)
        for k, dilation in enumerate(self.dilations):
            batch, top, left = torch.nonzero(choice == k, as_tuple=True)
            if not len(batch):
                continue
            conv, norm, act = self._layers(k)
            center = (batch * padded.shape[1] + top + edge) * wide + left + edge
            step = torch.arange(-1, 2, device=x.device) * dilation
            offsets = (step[:, None] * wide + step).flatten()
            taps = rows[center[:, None] + offsets].flatten(1)
            kernel = conv.weight.permute(0, 2, 3, 1).flatten(1)
            out[batch, top, left] = act(norm(F.linear(taps, kernel, conv.bias)[..., None, None]))[..., 0, 0]
        return out.permute(0, 3, 1, 2)


class GatedPooling(nn.Module):
    """Pooling by a gate and the branches that it weights: y = sum_k weights_k(x) branch_k(x) (Fig. 2).

    Attributes:
        hard: in evaluation mode, compute at every pixel only the scale with the largest weight.
    """

    def __init__(self, gate: nn.Module, branches: ScaleBranches, hard: bool = False):
        super().__init__()
        self.gate, self.branches, self.hard = gate, branches, hard

    def forward(self, x: Tensor, given: Tensor | None = None) -> tuple[Tensor, GateOutput]:
        """Return the pooled map (B, C, h, w) of a map (B, C, h, w), and the output of the gate.

        Args:
            x: the map.
            given: gate of a given depth, (B, S, h, w), for a :class:`GroundTruthDepthGate`.
        """
        gate = self.gate(x, given)
        if not self.hard or self.training:
            return self.branches(x, gate.weights), gate
        choice = gate.weights.argmax(1)
        if x.is_meta or is_tracing():
            one_hot = F.one_hot(choice, gate.weights.shape[1]).permute(0, 3, 1, 2).to(x.dtype)
            return self.branches(x, one_hot), gate
        return self.branches.forward_hard(x, choice), gate
