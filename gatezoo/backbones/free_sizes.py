"""Modules of timm in a form that an exporter can trace for images of any size, with the same numbers."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from timm.layers import Conv2dSame
from torch import Tensor, nn

from ..layers.same_padding import extent, pad_same


class SamePaddedConv2d(Conv2dSame):
    """timm's ``Conv2dSame``, the same numbers, for windows at least as large as their stride."""

    def forward(self, x: Tensor) -> Tensor:
        """Pad and convolve (B, C, H, W) -> (B, C', ceil(H / s), ceil(W / s))."""
        return F.conv2d(pad_same(x, self), self.weight, self.bias, self.stride, 0, self.dilation, self.groups)


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
    """Change the class of modules of a network, in place, for :class:`SamePaddedConv2d` and :class:`CeilAvgPool2d`."""
    for module in net.modules():
        if type(module) is Conv2dSame and all(extent(module, axis) >= module.stride[axis] for axis in (0, 1)):
            module.__class__ = SamePaddedConv2d
        if type(module) is nn.AvgPool2d and module.ceil_mode and not module.count_include_pad:
            geometry = module.kernel_size, module.stride, module.padding, module.divisor_override
            if geometry == (2, 2, 0, None):
                module.__class__ = CeilAvgPool2d
