"""A classifier on the finest of maps that were fused first."""

from __future__ import annotations

from torch import Tensor, nn


class FinestHead(nn.Module):
    """``classify(fuse([map, ...])[0])``: maps of a pyramid, finest first -> (B, K, h_1, w_1)."""

    def __init__(self, fuse: nn.Module, classify: nn.Module):
        super().__init__()
        self.fuse = fuse
        self.classify = classify

    def forward(self, *maps: Tensor) -> Tensor:
        return self.classify(self.fuse(maps)[0])
