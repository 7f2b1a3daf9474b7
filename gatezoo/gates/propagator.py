"""Propagator gate: carry feedback from a block to the block below (DIGNet, Sec. 3.3.1)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..layers.resize import resize_to


class Propagator(nn.Module):
    """Combination of a block's feature f_k and the signal F_{k+1} from above (eq. 1).

    F_k = W_c * [relu(W_a * f_k), relu(W_b * up(F_{k+1}))]. W_a and W_b are 3x3, W_c is 1x1 with nothing after
    it; all have biases, none a norm. Signals are resized where they are used, here to the first source, f_k. The
    sources are a list so that the alternative routings of Table 2 are the same gate with a single source.

    Args:
        in_channels: channels of each source.
        widths: output channels of the 3x3 convolution of each source.
        out_channels: channels of the signal.
    """

    def __init__(self, in_channels: Sequence[int], widths: Sequence[int], out_channels: int):
        super().__init__()
        self.sources = nn.ModuleList(
            nn.Conv2d(channels, width, 3, padding=1) for channels, width in zip(in_channels, widths, strict=True)
        )
        self.fuse = nn.Conv2d(sum(widths), out_channels, 1)

    def forward(self, sources: Sequence[Tensor]) -> Tensor:
        """Compute the signal (B, out_channels, h, w), of the first source's size, from sources (B, C_s, h_s, w_s)."""
        size = sources[0].shape[-2:]
        maps = [F.relu(conv(resize_to(source, size))) for conv, source in zip(self.sources, sources, strict=True)]
        return self.fuse(torch.cat(maps, 1))
