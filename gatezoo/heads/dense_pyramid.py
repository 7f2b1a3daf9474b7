"""Dense feature pyramid: pass context down from level to level (GFF, Sec. "Dense Feature Pyramid")."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..layers.conv import ConvNormAct
from ..layers.resize import resize_to


class DenseFeaturePyramid(nn.Module):
    """Dense pyramid y_i = H_i([y_0, ..., y_{i-1}, X~_i]), from the deepest level (i = 1) to the finest.

    All y_i have the finest level's size; y_0 is the context map, H_i a convolution with norm and ReLU ("a single
    convolution layer", whose kernel the text does not name). The printed eq. 6, H_i([y_0, X~_1, ..., X~_{i-1}]), would
    never read the finest level: here each level reads itself and the outputs of all levels above it.

    Args:
        context_channels: of y_0.
        levels: number of levels.
        width: channels of every X~_i and of every y_i but y_0.
        kernel_size: of every H_i; 1 gives the parameters of the paper's Table 3 (:func:`gatezoo.models.gff.gff`).
    """

    def __init__(self, context_channels: int, levels: int, width: int = 256, kernel_size: int = 3):
        super().__init__()
        self.merge = nn.ModuleList(
            ConvNormAct(context_channels + i * width, width, kernel_size) for i in range(1, levels + 1)
        )

    def forward(self, levels: list[Tensor], context: Tensor) -> list[Tensor]:
        """Return [y_L, ..., y_1, y_0], all of the first level's size, given the levels, finest first, and context."""
        size = levels[0].shape[-2:]
        outputs = [resize_to(context, size)]
        for merge, level in zip(self.merge, reversed(levels), strict=True):
            outputs.append(merge(torch.cat([*outputs, resize_to(level, size)], 1)))
        return outputs[::-1]
