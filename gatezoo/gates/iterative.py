"""Recurrent iterative gates: a block's output gates its own input (RIGNet, Sec. 3.4)."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..layers.resize import resize_to
from ..utils.choices import check_choice
from .base import BlockFeedback, Feedback, open_gate

# Table 4: what is done to the convolution's output, and how the gate meets the block's input.
INTERACTIONS: dict[str, tuple[Callable[[Tensor], Tensor], Callable[[Tensor, Tensor], Tensor]]] = {
    "multiply_sigmoid": (torch.sigmoid, torch.mul),
    "multiply_tanh": (torch.tanh, torch.mul),
    "add_relu": (torch.relu, torch.add),
}

# Table 5. The paper gives no size; averages do not count what lies outside the map.
POOLS: dict[str, Callable[[Tensor], Tensor]] = {
    "average": partial(F.avg_pool2d, kernel_size=5, stride=1, padding=2, count_include_pad=False),
    "max": partial(F.max_pool2d, kernel_size=5, stride=1, padding=2),
    "none": lambda x: x,
}


class IterativeGate(nn.Module):
    """gate = up(act(W * pool(f))), W a 3x3 convolution with bias (eq. 1).

    Multiplicative gates start open; the additive one starts at zero.

    Args:
        in_channels: of the block's output f.
        out_channels: of the block's input, which the gate meets.
        pool: "average" (5x5, stride 1), "max" or "none" (Table 5).
        interaction: a key of ``INTERACTIONS`` (Table 4).
        width: channels of a 1x1 bottleneck before the 3x3; None for the paper's gate, which has none.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        pool: str = "average",
        interaction: str = "multiply_sigmoid",
        width: int | None = None,
    ):
        super().__init__()
        self.pool = POOLS[check_choice("pool", pool, POOLS)]
        self.activation = INTERACTIONS[check_choice("interaction", interaction, INTERACTIONS)][0]
        self.narrow = nn.Conv2d(in_channels, width, 1) if width else nn.Identity()
        self.weigh = open_gate(nn.Conv2d(width or in_channels, out_channels, 3, padding=1))
        if interaction == "add_relu":
            nn.init.zeros_(self.weigh.bias)

    def forward(self, output: Tensor, size: tuple[int, int]) -> Tensor:
        """Output (B, in_channels, h, w) -> gate (B, out_channels, *size)."""
        return resize_to(self.activation(self.weigh(self.narrow(self.pool(output)))), size)


def gated_blocks(blocks: Sequence[int] | None, count: int) -> list[int]:
    """Numbers of the gated blocks in order; negative ones count from the end, -1 is block n; None gates all.

    Raises:
        ValueError: none, outside 1 .. n, or with a gap.
    """
    if blocks is None:
        return list(range(1, count + 1))
    numbers = sorted({block + count + 1 if block < 0 else block for block in blocks})
    if not numbers or numbers[0] < 1 or numbers[-1] > count:
        raise ValueError(f"gated blocks must be some of 1 .. {count}, or -{count} .. -1; got {list(blocks)}")
    if numbers != list(range(numbers[0], numbers[-1] + 1)):
        raise ValueError(f"gated blocks must follow one another; got {list(blocks)}")
    return numbers


class GateBank(Feedback):
    """An :class:`IterativeGate` for each gated block, whatever the gates see.

    Args:
        channels: channels of f_0 (the image), f_1, ..., f_n (the classes).
        blocks: gated blocks, see :func:`gated_blocks` (Table 2: <6> is (-1,), <6..4> (-3, -2, -1), <6..1> None).
        pool, interaction, width: of each gate.
    """

    def __init__(
        self,
        channels: Sequence[int],
        blocks: Sequence[int] | None = None,
        pool: str = "average",
        interaction: str = "multiply_sigmoid",
        width: int | None = None,
    ):
        super().__init__()
        self.blocks = gated_blocks(blocks, len(channels) - 1)
        make = partial(IterativeGate, pool=pool, interaction=interaction, width=width)
        self.gates = nn.ModuleDict({str(i): make(self.seen(channels, i), channels[i - 1]) for i in self.blocks})
        self._meet = INTERACTIONS[interaction][1]

    @staticmethod
    @abstractmethod
    def seen(channels: Sequence[int], block: int) -> int:
        """Channels of what the gate of a block sees."""

    def modulate(self, gate: Tensor, x: Tensor) -> Tensor:
        return self._meet(gate, x)


class IterativeFeedback(GateBank, BlockFeedback):
    """gate_i = G_i(f_i): each gated block's own output (RIGNet, Sec. 3.4.1)."""

    @staticmethod
    def seen(channels: Sequence[int], block: int) -> int:
        return channels[block]

    def gate(self, block: int, output: Tensor, size: tuple[int, int]) -> Tensor:
        return self.gates[str(block)](output, size)


class MultiRangeFeedback(GateBank):
    """gate_i = G_i([f_i, up(L_i * f_n)]), L_i a 1x1 convolution to the channels of f_i; gate_n = G_n(f_n) (Sec. 3.4.2).

    Arguments as of :class:`GateBank`.
    """

    def __init__(self, channels: Sequence[int], *args: Any, **kwargs: Any):
        super().__init__(channels, *args, **kwargs)
        below = [i for i in self.blocks if i < len(channels) - 1]
        self.far = nn.ModuleDict({str(i): nn.Conv2d(channels[-1], channels[i], 1) for i in below})

    @staticmethod
    def seen(channels: Sequence[int], block: int) -> int:
        return channels[block] * (2 if block < len(channels) - 1 else 1)

    def forward(self, maps: Sequence[Tensor]) -> dict[int, Tensor]:
        gates = {}
        for i in self.blocks:
            seen = maps[i]
            if str(i) in self.far:
                seen = torch.cat([seen, resize_to(self.far[str(i)](maps[-1]), seen.shape[-2:])], 1)
            gates[i] = self.gates[str(i)](seen, maps[i - 1].shape[-2:])
        return gates
