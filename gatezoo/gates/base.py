"""Base classes of the feedback between the passes of an unrolled network."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

from torch import Tensor, nn


class Feedback(nn.Module, ABC):
    """Mechanism that turns the maps of one pass into the gates of the next.

    Blocks are numbered as in the papers: block i maps f_{i-1} to f_i, f_0 is the image, f_n the logits.

    Attributes:
        blocks: the gated blocks, in order. Maps below the ``shallowest`` one never change between passes.
    """

    blocks: Sequence[int]

    @property
    def shallowest(self) -> int:
        """Return the number of the first gated block."""
        return min(self.blocks)

    @abstractmethod
    def forward(self, maps: Sequence[Tensor]) -> dict[int, Tensor]:
        """Return the gates by block number, given the maps [f_0, ..., f_n] of the previous pass."""

    def gate_modules(self) -> dict[int, nn.Module]:
        """Return the modules whose outputs are the gates, by block number; empty if no module outputs a gate."""
        return {int(block): gate for block, gate in getattr(self, "gates", {}).items()}

    def modulate(self, gate: Tensor, x: Tensor) -> Tensor:
        """Apply a block's gate to the block's input: multiply, unless a subclass overrides it."""
        return gate * x


class BlockFeedback(Feedback):
    """Feedback in which the gate of a block depends on the output of that block alone."""

    @abstractmethod
    def gate(self, block: int, output: Tensor, size: Sequence[int]) -> Tensor:
        """Return the gate (B, C_{i-1}, *size) of block i from its output f_i."""

    def forward(self, maps: Sequence[Tensor]) -> dict[int, Tensor]:
        return {i: self.gate(i, maps[i], maps[i - 1].shape[-2:]) for i in self.blocks}


def open_gate(conv: nn.Conv2d) -> nn.Conv2d:
    """Initialize the convolution before a sigmoid so that the gate starts open: sigmoid(3) = .95 everywhere.

    With the usual initialization (sigmoid near .5), the maps of a pretrained backbone with frozen batch norm are
    halved at every block.
    """
    assert conv.bias is not None
    nn.init.normal_(conv.weight, std=1e-3)
    nn.init.constant_(conv.bias, 3.0)
    return conv
