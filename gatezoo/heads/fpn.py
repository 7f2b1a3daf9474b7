"""Feature pyramid network (Lin et al., 2017) on lists of maps, by torchvision."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torchvision.ops import FeaturePyramidNetwork


class FeaturePyramid(nn.Module):
    """Feature pyramid from maps [(B, in_channels[l], h_l, w_l)], finest first, to maps (B, C, h_l, w_l).

    Each output is a 3x3 convolution of the sum of 1x1 convolutions of the map and of those above it, resized to it.

    Args:
        in_channels: channels of the maps.
        channels: C.
        outputs: number of the finest maps to return; all by default.
        norm: class of a norm after each convolution; none by default.
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        channels: int = 256,
        outputs: int | None = None,
        norm: type[nn.Module] | None = None,
    ):
        super().__init__()
        self.net = FeaturePyramidNetwork(list(in_channels), channels, norm_layer=norm)
        # The 3x3 convolutions of unused maps would never be trained.
        self.outputs = len(in_channels) if outputs is None else outputs
        for level in range(self.outputs, len(in_channels)):
            self.net.layer_blocks[level] = nn.Identity()

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        fused = self.net({str(level): x for level, x in enumerate(maps)})
        return list(fused.values())[: self.outputs]
