"""What a head with gates adds to one that only classifies."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor, nn


class GatedHead(nn.Module, ABC):
    """A head that can tell its gates: ``head(*maps)`` are the logits, ``with_gates(*maps)`` both."""

    def forward(self, *maps: Tensor) -> Tensor:
        return self.with_gates(*maps)[0]

    @abstractmethod
    def with_gates(self, *maps: Tensor) -> tuple[Tensor, dict[int, Tensor]]:
        """Maps, finest first -> coarse logits (B, K, h, w) and the gates by number."""

    @abstractmethod
    def gate_modules(self) -> dict[int, nn.Module]:
        """The modules whose outputs are the gates, by number."""
