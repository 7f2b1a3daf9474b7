"""Fusion of the levels of a backbone: gated fully fusion and the methods it is compared with (GFF, Tables 1 and 2).

All read the same laterals, X_l = relu(norm(1x1 * raw map l)) of one width, and return one map per level, at the level's
size.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from ..layers.conv import ConvNormAct
from ..layers.resize import group_by_size, resize_to, sum_resized, sum_tensors
from ..utils.choices import check_choice

# Channels of a gate for a width: one value per pixel (eq. 5), or one per pixel and channel (the authors' code).
LEVEL_GATES: dict[str, Callable[[int], int]] = {"pixel": lambda width: 1, "channel": lambda width: width}


class LevelGate(nn.Sequential):
    """Gate of a level, G = sigmoid(w * X), w a 1x1 convolution with bias: (B, C, h, w) -> (B, 1 or width, h, w)."""

    def __init__(self, in_channels: int, width: int, gate: str = "pixel"):
        out_channels = LEVEL_GATES[check_choice("gate", gate, LEVEL_GATES)](width)
        super().__init__(nn.Conv2d(in_channels, out_channels, 1), nn.Sigmoid())


class Fusion(nn.Module, ABC):
    """Fusion of raw maps [(B, channels[l], h_l, w_l)], finest first, to maps [(B, width, h_l, w_l)].

    Args:
        channels: of the raw maps.
        context_channels: of the context map, such as the output of pyramid pooling.
        width: channels of the laterals and the fused maps.
        gate: "pixel" or "channel", for the fusions that have gates.

    Raises:
        ValueError: fewer than two levels, or an unknown gate.
    """

    def __init__(self, channels: Sequence[int], context_channels: int, width: int = 256, gate: str = "pixel"):
        super().__init__()
        if len(channels) < 2:
            raise ValueError(f"levels to fuse must be at least two; got {len(channels)}: ask for more strides")
        self.lateral = nn.ModuleList(ConvNormAct(count, width, 1) for count in channels)

    @abstractmethod
    def forward(self, maps: Sequence[Tensor], context: Tensor) -> tuple[list[Tensor], dict[int, Tensor]]:
        """Return the fused maps, and the gates by level from 1; without gates, an empty dict."""

    def gate_modules(self) -> dict[int, nn.Module]:
        """Return the modules whose outputs are the gates, by level from 1."""
        return {int(level): gate for level, gate in getattr(self, "gates", {}).items()}

    def _laterals(self, maps: Sequence[Tensor]) -> list[Tensor]:
        return [lateral(x) for lateral, x in zip(self.lateral, maps, strict=True)]


def _gates(channels: Sequence[int], width: int, gate: str) -> nn.ModuleDict:
    return nn.ModuleDict({str(level): LevelGate(count, width, gate) for level, count in enumerate(channels, start=1)})


def sums_of_others(maps: Sequence[Tensor]) -> list[Tensor]:
    """Return for each map the sum of all others, resized bilinearly to its size.

    Resizing is linear: maps of equal size are added first, so that at most one map is resized from any size to another.
    """
    groups = group_by_size(maps)
    received: dict[int, Tensor] = {}
    for group in groups:
        size = maps[group[0]].shape[-2:]
        others = [resize_to(sum_tensors(maps[i] for i in other), size) for other in groups if other is not group]
        for level in group:
            received[level] = sum_tensors([maps[i] for i in group if i != level] + others)
    return [received[level] for level in range(len(maps))]


class GatedFullyFusion(Fusion):
    """Gated fully fusion, X~_l = (1 + G_l) X_l + (1 - G_l) sum_{i != l} up(G_i X_i)   (eq. 5).

    G_l is computed from the raw map of its level (Sec. "Gated Fully Fusion"). All levels are fused at once, from
    unfused maps.
    """

    def __init__(self, channels: Sequence[int], context_channels: int, width: int = 256, gate: str = "pixel"):
        super().__init__(channels, context_channels, width, gate)
        self.gates = _gates(channels, width, gate)

    def forward(self, maps: Sequence[Tensor], context: Tensor) -> tuple[list[Tensor], dict[int, Tensor]]:
        laterals, gates = self.project(maps)
        return self.fuse(laterals, gates), dict(enumerate(gates, start=1))

    def project(self, maps: Sequence[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """Return the laterals X_l and the gates G_l of raw maps."""
        return self._laterals(maps), [gate(x) for gate, x in zip(self.gates.values(), maps, strict=True)]

    def fuse(self, laterals: Sequence[Tensor], gates: Sequence[Tensor]) -> list[Tensor]:
        """Return the fused maps of laterals and gates."""
        received = sums_of_others([g * x for g, x in zip(gates, laterals)])
        return [torch.addcmul((1 + g) * x, 1 - g, other) for g, x, other in zip(gates, laterals, received)]


class GatedFusionInTurn(GatedFullyFusion):
    """Gated fully fusion one level after the other, finest first, as in the authors' code.

    ::

        X~_l = (1 + G_l) X_l + (1 - G_l) (sum_{i < l} up(G_i X~_i) + sum_{i > l} up(G_i X_i))

    A level receives from finer ones what these have already received; eq. 5 sums unfused maps alone.
    """

    def fuse(self, laterals: Sequence[Tensor], gates: Sequence[Tensor]) -> list[Tensor]:
        """Return the fused maps of laterals and gates."""
        maps = list(laterals)
        for level, (x, g) in enumerate(zip(laterals, gates, strict=True)):
            sent = [gate * y for other, (gate, y) in enumerate(zip(gates, maps)) if other != level]
            maps[level] = torch.addcmul((1 + g) * x, 1 - g, sum_resized(sent, x.shape[-2:]))
        return maps


class Addition(Fusion):
    """Fusion by addition, X~_l = sum_i up(X_i)   (eq. 3)."""

    def forward(self, maps: Sequence[Tensor], context: Tensor) -> tuple[list[Tensor], dict[int, Tensor]]:
        laterals = self._laterals(maps)
        fused: dict[int, Tensor] = {}
        for group in group_by_size(laterals):
            fused |= dict.fromkeys(group, sum_resized(laterals, laterals[group[0]].shape[-2:]))
        return [fused[level] for level in range(len(laterals))], {}


class Concatenation(Fusion):
    """Fusion by concatenation and a 1x1 convolution back to the width (eq. 2).

    ::

        X~_l = relu(norm(1x1 * [up(X_1), ..., up(X_L)]))
    """

    def __init__(self, channels: Sequence[int], context_channels: int, width: int = 256, gate: str = "pixel"):
        super().__init__(channels, context_channels, width, gate)
        self.merge = nn.ModuleList(ConvNormAct(len(channels) * width, width, 1) for _ in channels)

    def forward(self, maps: Sequence[Tensor], context: Tensor) -> tuple[list[Tensor], dict[int, Tensor]]:
        laterals = self._laterals(maps)
        fused: dict[int, Tensor] = {}
        for group in group_by_size(laterals):
            joined = torch.cat([resize_to(x, laterals[group[0]].shape[-2:]) for x in laterals], 1)
            fused |= {level: self.merge[level](joined) for level in group}
        return [fused[level] for level in range(len(laterals))], {}


class TopDownFusion(Fusion):
    """Fusion from the top down, X~_l = X_l + up(X~_{l+1})   (eq. 4), as in a feature pyramid.

    The context map is the level above the highest (Sec. "Ablation Study").
    """

    def __init__(self, channels: Sequence[int], context_channels: int, width: int = 256, gate: str = "pixel"):
        super().__init__(channels, context_channels, width, gate)
        self.top = ConvNormAct(context_channels, width, 1)

    def forward(self, maps: Sequence[Tensor], context: Tensor) -> tuple[list[Tensor], dict[int, Tensor]]:
        fused = [self.top(context)]
        for x in reversed(self._laterals(maps)):
            fused.append(x + resize_to(fused[-1], x.shape[-2:]))
        return fused[:0:-1], {}


class GatedTopDownFusion(TopDownFusion):
    """Gated fusion from the top down, X~_l = (1 + G_l) X_l + (1 - G_l) up(G_{l+1} X~_{l+1}).

    This is eq. 5 with the level above as the only sender; the paper names the method and gives no equation. The
    context map, level L + 1, has a gate, too.
    """

    def __init__(self, channels: Sequence[int], context_channels: int, width: int = 256, gate: str = "pixel"):
        super().__init__(channels, context_channels, width, gate)
        self.gates = _gates([*channels, context_channels], width, gate)

    def forward(self, maps: Sequence[Tensor], context: Tensor) -> tuple[list[Tensor], dict[int, Tensor]]:
        *gates, sender = [gate(x) for gate, x in zip(self.gates.values(), [*maps, context], strict=True)]
        by_level = dict(enumerate([*gates, sender], start=1))
        fused = [self.top(context)]
        for g, x in zip(reversed(gates), reversed(self._laterals(maps))):
            fused.append((1 + g) * x + (1 - g) * resize_to(sender * fused[-1], x.shape[-2:]))
            sender = g
        return fused[:0:-1], by_level


FUSIONS: dict[str, type[Fusion]] = {
    "concat": Concatenation,
    "addition": Addition,
    "fpn": TopDownFusion,
    "gated_fpn": GatedTopDownFusion,
    "gff": GatedFullyFusion,
    "gff_in_turn": GatedFusionInTurn,
}


def make_fusion(
    fusion: str, channels: Sequence[int], context_channels: int, width: int = 256, gate: str = "pixel"
) -> Fusion:
    """Return a fusion by name; the other arguments are those of :class:`Fusion`.

    Raises:
        ValueError: the name is unknown.
    """
    return FUSIONS[check_choice("fusion", fusion, FUSIONS)](channels, context_channels, width, gate)
