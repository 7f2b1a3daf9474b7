"""Base classes of heads with gates and of context modules."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor, nn


class GatedHead(nn.Module, ABC):
    """Head with gates: ``head(*maps)`` returns the logits, ``head.with_gates(*maps)`` the logits and the gates."""

    def forward(self, *maps: Tensor) -> Tensor:
        return self.with_gates(*maps)[0]

    @abstractmethod
    def with_gates(self, *maps: Tensor) -> tuple[Tensor, dict[int, Tensor]]:
        """Return coarse logits (B, K, h, w) and the gates by number, given maps, finest first."""

    @abstractmethod
    def gate_modules(self) -> dict[int, nn.Module]:
        """Return the modules whose outputs are the gates, by number."""


class ContextModule(nn.Module):
    """Module from the deepest map (B, C, h, w) to a context map (B, out_channels, h, w).

    Attributes:
        out_channels: channels of the context map.
    """

    out_channels: int
