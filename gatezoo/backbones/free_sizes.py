"""Modules of timm in a form that an exporter can trace for images of any size, with the same numbers."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from timm.layers import AvgPool2dSame, Conv2dSame, to_2tuple
from torch import Tensor, nn

from ..layers.same_padding import extent_of, pad_same


class SamePaddedConv2d(Conv2dSame):
    """timm's ``Conv2dSame``, the same numbers, for windows at least as large as their stride."""

    def forward(self, x: Tensor) -> Tensor:
        """Pad and convolve (B, C, H, W) -> (B, C', ceil(H / s), ceil(W / s))."""
        x = pad_same(x, extent_of(self), self.stride)
        return F.conv2d(x, self.weight, self.bias, self.stride, 0, self.dilation, self.groups)


class SamePaddedAvgPool2d(AvgPool2dSame):
    """timm's ``AvgPool2dSame``, the same numbers, for windows at least as large as their stride."""

    kernel_size: tuple[int, int]
    stride: tuple[int, int]

    def forward(self, x: Tensor) -> Tensor:
        """Pad and pool (B, C, H, W) -> (B, C, ceil(H / s), ceil(W / s)); zeros of the padding count."""
        x = pad_same(x, self.kernel_size, self.stride)
        return F.avg_pool2d(x, self.kernel_size, self.stride, 0, self.ceil_mode, self.count_include_pad)


class CeilAvgPool2d(nn.AvgPool2d):
    """Average pool of windows next to one another, of which the last reads what there is of it.

    Exporters compare the size of the map with that of the windows, and so restrict the sizes of images. While
    exporting, the map is therefore padded with zeros, and averages are divided by those of a padded map of ones: as the
    windows have 2 x 2 positions, a division by a power of two that rounds nothing.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Pool (B, C, H, W) -> (B, C, ceil(H / 2), ceil(W / 2))."""
        if not torch.compiler.is_exporting():
            return super().forward(x)
        height, width = x.shape[-2:]
        edges = (0, (width - 1) // 2 * 2 + 2 - width, 0, (height - 1) // 2 * 2 + 2 - height)
        ones = F.pad(torch.ones_like(x[:1, :1]), edges)
        return F.avg_pool2d(F.pad(x, edges), 2, 2) / F.avg_pool2d(ones, 2, 2)


def free_sizes(net: nn.Module) -> None:
    """Change the class of modules of a network, in place, for the ones of this file."""
    for module in net.modules():
        if type(module) is Conv2dSame and _overlap(extent_of(module), module.stride):
            module.__class__ = SamePaddedConv2d
        if type(module) is AvgPool2dSame and _overlap(to_2tuple(module.kernel_size), to_2tuple(module.stride)):
            module.__class__ = SamePaddedAvgPool2d
        if type(module) is nn.AvgPool2d and module.ceil_mode and not module.count_include_pad:
            geometry = module.kernel_size, module.stride, module.padding, module.divisor_override
            if geometry == (2, 2, 0, None):
                module.__class__ = CeilAvgPool2d


def _overlap(extent: Sequence[int], stride: Sequence[int]) -> bool:
    """Return whether windows leave no position out."""
    return all(k >= s for k, s in zip(extent, stride))
