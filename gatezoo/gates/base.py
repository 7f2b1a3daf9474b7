"""What an unrolled network asks of its feedback."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

from torch import Tensor, nn


class Feedback(nn.Module, ABC):
    """Turns the maps of one pass into the gates of the next.

    Blocks are numbered as in the papers: block i maps f_{i-1} to f_i, f_0 is the image, f_n the logits.
    ``blocks`` are the gated ones, in order; whatever lies below the ``shallowest`` never changes between passes.
    """

    blocks: Sequence[int]

    @property
    def shallowest(self) -> int:
        """The smallest gated block."""
        return min(self.blocks)

    @abstractmethod
    def forward(self, maps: Sequence[Tensor]) -> dict[int, Tensor]:
        """Gates by block number, from the maps [f_0, ..., f_n] of the previous pass."""

    def gate_modules(self) -> dict[int, nn.Module]:
        """The modules whose outputs are the gates, by block number; empty where no module gives a block's gate."""
        return {int(block): gate for block, gate in getattr(self, "gates", {}).items()}

    def modulate(self, gate: Tensor, x: Tensor) -> Tensor:
        """Apply a block's gate to the block's input. Multiplies unless a mechanism says otherwise."""
        return gate * x


class BlockFeedback(Feedback):
    """Feedback in which the gate of a block sees that block's output alone."""

    @abstractmethod
    def gate(self, block: int, output: Tensor, size: tuple[int, int]) -> Tensor:
        """Gate (B, C_{i-1}, *size) of block i from its output f_i."""

    def forward(self, maps: Sequence[Tensor]) -> dict[int, Tensor]:
        return {i: self.gate(i, maps[i], maps[i - 1].shape[-2:]) for i in self.blocks}


def open_gate(conv: nn.Conv2d) -> nn.Conv2d:
    """Initialise the convolution before a sigmoid so that the gate starts open: sigmoid(3) = .95 everywhere.

    At the usual start (sigmoid near .5) a pretrained backbone with frozen batch norm is halved at every block.
    """
    nn.init.normal_(conv.weight, std=1e-3)
    nn.init.constant_(conv.bias, 3.0)
    return conv
