"""Recurrent iterative gates: the output of a block gates the input of the same block (RIGNet, Sec. 3.4)."""

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

# Table 4: the activation of the gate's convolution, and the operation that combines the gate with the block's input.
INTERACTIONS: dict[str, tuple[Callable[[Tensor], Tensor], Callable[[Tensor, Tensor], Tensor]]] = {
    "multiply_sigmoid": (torch.sigmoid, torch.mul),
    "multiply_tanh": (torch.tanh, torch.mul),
    "add_relu": (torch.relu, torch.add),
}

# Table 5. The paper gives no size; averages do not count positions outside the map.
POOLS: dict[str, Callable[[Tensor], Tensor]] = {
    "average": partial(F.avg_pool2d, kernel_size=5, stride=1, padding=2, count_include_pad=False),
    "max": partial(F.max_pool2d, kernel_size=5, stride=1, padding=2),
    "none": lambda x: x,
}


class IterativeGate(nn.Module):
    """Gate from a block's output f: up(act(W * pool(f))), W a 3x3 convolution with bias (eq. 1).

    Multiplicative gates start open; the additive one starts at zero.

    Args:
        in_channels: of f.
        out_channels: of the block's input, which the gate is combined with.
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
            assert self.weigh.bias is not None
            nn.init.zeros_(self.weigh.bias)

    def forward(self, output: Tensor, size: Sequence[int]) -> Tensor:
        """Compute the gate (B, out_channels, *size) of an output (B, in_channels, h, w)."""
        return resize_to(self.activation(self.weigh(self.narrow(self.pool(output)))), size)


def gated_blocks(blocks: Sequence[int] | None, count: int) -> list[int]:
    """Return the numbers of the gated blocks in order.

    Args:
        blocks: numbers 1 .. n; negative ones count from the end, -1 is block n; None for all blocks.
        count: n.

    Raises:
        ValueError: no block, one outside 1 .. n, or a gap between two.
    """
    if blocks is None:
        return list(range(1, count + 1))
    numbers = sorted({block + count + 1 if block < 0 else block for block in blocks})
    if not numbers or numbers[0] < 1 or numbers[-1] > count:
        raise ValueError(
            f"gated blocks must be some of 1 .. {count}, or -{count} .. -1; got {list(blocks)}: pass None for all"
        )
    if numbers != list(range(numbers[0], numbers[-1] + 1)):
        raise ValueError(f"gated blocks must be consecutive; got {list(blocks)}: pass a range without gaps")
    return numbers


class GateBank(Feedback):
    """One :class:`IterativeGate` per gated block; subclasses define the input of the gates.

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
        self.gates = nn.ModuleDict(
            {str(i): make(self.gate_in_channels(channels, i), channels[i - 1]) for i in self.blocks}
        )
        self._combine = INTERACTIONS[interaction][1]

    @staticmethod
    @abstractmethod
    def gate_in_channels(channels: Sequence[int], block: int) -> int:
        """Return the number of input channels of the gate of a block."""

    def modulate(self, gate: Tensor, x: Tensor) -> Tensor:
        return self._combine(gate, x)


class IterativeFeedback(GateBank, BlockFeedback):
    """Feedback from the output of each gated block to its input: gate_i = G_i(f_i) (RIGNet, Sec. 3.4.1)."""

    @staticmethod
    def gate_in_channels(channels: Sequence[int], block: int) -> int:
        return channels[block]

    def gate(self, block: int, output: Tensor, size: Sequence[int]) -> Tensor:
        return self.gates[str(block)](output, size)


class MultiRangeFeedback(GateBank):
    """Feedback from the output of each gated block and from that of the last one (Sec. 3.4.2).

    ::

        gate_i = G_i([f_i, up(L_i * f_n)]);  gate_n = G_n(f_n)

    L_i is a 1x1 convolution to the channels of f_i. f_n is "the output from the last block": the logits, behind the
    head's dropout in training, if it has one. Whether the paper's last block ends in a softmax is not said; nothing in
    the text asks for one. Arguments as for :class:`GateBank`.
    """

    def __init__(self, channels: Sequence[int], *args: Any, **kwargs: Any):
        super().__init__(channels, *args, **kwargs)
        below = [i for i in self.blocks if i < len(channels) - 1]
        self.far = nn.ModuleDict({str(i): nn.Conv2d(channels[-1], channels[i], 1) for i in below})

    @staticmethod
    def gate_in_channels(channels: Sequence[int], block: int) -> int:
        return channels[block] * (2 if block < len(channels) - 1 else 1)

    def forward(self, maps: Sequence[Tensor]) -> dict[int, Tensor]:
        gates = {}
        for i in self.blocks:
            x = maps[i]
            if str(i) in self.far:
                x = torch.cat([x, resize_to(self.far[str(i)](maps[-1]), x.shape[-2:])], 1)
            gates[i] = self.gates[str(i)](x, maps[i - 1].shape[-2:])
        return gates
