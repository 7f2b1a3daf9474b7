"""Deformable convolution (Dai et al., "Deformable convolutional networks", ICCV 2017), by torchvision."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.flop_counter import conv_flop_count, register_flop_formula
from torchvision.ops import deform_conv2d

from .same_padding import extent_of, pad_same


class DeformableConv2d(nn.Conv2d):
    """Convolution whose taps move by offsets that another convolution reads from its input (Dai et al., Sec. 2.1).

    With p_k the place of tap k on the grid of the plain convolution at p, and C_in in G groups of equal size::

        y(p) = sum_k w_k x(p_k + delta_{k,g}(p)),  delta = offset(x)

    x is read by bilinear interpolation, zero outside the map. Each group of input channels has offsets of its own. They
    begin as zero: the layer is then the plain convolution, whose state dict it loads but for ``offset.weight`` and
    ``offset.bias``. There is no modulation of taps, which is the second version's (Zhu et al., CVPR 2019).

    (B, C_in, H, W) -> (B, C_out, h, w), in the type of the input, computed in float32 at least: in 16 bits places would
    be off by whole pixels.

    Args:
        in_channels: C_in.
        out_channels: C_out.
        kernel_size: side of the kernel; the offsets' kernel has the same.
        stride, dilation, groups, bias: of :class:`torch.nn.Conv2d`.
        padding: also that; or "same", as TensorFlow and timm pad, whatever the stride, see
            :func:`gatezoo.layers.same_padding.pad_same`.
        offset_groups: G.

    Attributes:
        offset: convolution to (B, 2 K^2 G, h, w), for each group and tap the offset in y and in x, in pixels.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | Sequence[int] = 3,
        stride: int | Sequence[int] = 1,
        padding: int | Sequence[int] | str = 0,
        dilation: int | Sequence[int] = 1,
        groups: int = 1,
        bias: bool = True,
        offset_groups: int = 1,
    ):
        assert in_channels % offset_groups == 0, (in_channels, offset_groups)
        self.pads_same = padding == "same"
        window: dict[str, Any] = dict(kernel_size=kernel_size, stride=stride, dilation=dilation)
        window["padding"] = 0 if self.pads_same else padding
        super().__init__(in_channels, out_channels, groups=groups, bias=bias, **window)
        taps = self.kernel_size[0] * self.kernel_size[1]
        self.offset = nn.Conv2d(in_channels, 2 * taps * offset_groups, **window)
        nn.init.zeros_(self.offset.weight)
        assert self.offset.bias is not None
        nn.init.zeros_(self.offset.bias)

    def forward(self, input: Tensor) -> Tensor:
        dtype = torch.promote_types(input.dtype, torch.float32)
        bias, offset_bias = (None if own is None else own.to(dtype) for own in (self.bias, self.offset.bias))
        weight, offset_weight = self.weight.to(dtype), self.offset.weight.to(dtype)
        with _without_autocast(input.device):
            x = input.to(dtype)
            x = pad_same(x, extent_of(self), self.stride) if self.pads_same else x
            offset = F.conv2d(x, offset_weight, offset_bias, self.stride, self.padding, self.dilation)
            y = deform_conv2d(x, offset, weight, bias, self.stride, self.padding, self.dilation)
        return y.to(input.dtype)


def _without_autocast(device: torch.device) -> AbstractContextManager[Any]:
    """Switch autocast off, where the device has it; the meta device does not."""
    known = torch.amp.is_autocast_available(device.type)
    return torch.autocast(device.type, enabled=False) if known else contextlib.nullcontext()


@register_flop_formula(torch.ops.torchvision.deform_conv2d)
def _count_flops(x: list[int], weight: list[int], *others: Any, out_shape: list[int], **options: Any) -> int:
    """Count those of the plain convolution, as torch counts them; interpolation is left out, as of other layers."""
    return conv_flop_count(x, weight, out_shape)
