"""Atrous spatial pyramid pooling of DeepLabV2 (the ASPP-L of its authors)."""

from __future__ import annotations

from torch import Tensor, nn

from ..layers.resize import sum_tensors


class ASPPHead(nn.Module):
    """Sum over ``rates`` of dilated 3x3 convolutions to the classes: (B, C, h, w) -> (B, K, h, w)."""

    def __init__(self, in_channels: int, num_classes: int, rates: tuple[int, ...] = (6, 12, 18, 24)):
        super().__init__()
        self.branches = nn.ModuleList(
            nn.Conv2d(in_channels, num_classes, 3, padding=rate, dilation=rate) for rate in rates
        )

    def forward(self, x: Tensor) -> Tensor:
        return sum_tensors(branch(x) for branch in self.branches)
