"""The feature pyramid network (Lin et al., 2017), torchvision's, on lists of maps."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torchvision.ops import FeaturePyramidNetwork


class FeaturePyramid(nn.Module):
    """Maps [(B, in_channels[l], h_l, w_l)], finest first -> the ``outputs`` finest fused, (B, C, h_l, w_l).

    Each is a 3x3 convolution of the sum of 1x1 convolutions of the maps above it, resized to it, and of its own.
    """

    def __init__(self, in_channels: Sequence[int], channels: int = 256, outputs: int | None = None):
        super().__init__()
        self.net = FeaturePyramidNetwork(list(in_channels), channels)
        # The 3x3 convolutions of maps that nobody wants would never learn.
        self.outputs = len(in_channels) if outputs is None else outputs
        for level in range(self.outputs, len(in_channels)):
            self.net.layer_blocks[level] = nn.Identity()

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        fused = self.net({str(level): x for level, x in enumerate(maps)})
        return list(fused.values())[: self.outputs]
