"""Convolution and activation in one operation, for prediction on CPUs with AVX2 or AVX-512."""

from __future__ import annotations

import functools

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..layers.resize import is_tracing
from ..layers.same_padding import extent_of, pad_same

# Activations that oneDNN computes along with a convolution: its name, scalars and algorithm of each.
POST_OPERATIONS: dict[type[nn.Module], tuple[str, list[float], str]] = {
    nn.Identity: ("none", [], ""),
    nn.ReLU: ("relu", [], ""),
    nn.ReLU6: ("hardtanh", [0.0, 6.0], ""),
    nn.SiLU: ("swish", [], ""),
    nn.Hardswish: ("hardswish", [], ""),
}
# Winograd's transforms pay from this number of channels, and of tiles, on, and up to this share of positions in vain.
_WINOGRAD_CHANNELS, _WINOGRAD_TILES, _WINOGRAD_WASTE = 128, 64, 1.5
# On one thread torch's product of matrices is quicker for 1x1 convolutions of maps of fewer positions.
_MAP_OF_ONE_THREAD = 4096
# Side of the output of a tile of NNPACK's F(6 x 6, 3 x 3).
_TILE = 6


class FusedConv2d(nn.Conv2d):
    """Convolution followed by an activation, as ``activation(conv(x))``, equal but for rounding.

    In float32 on a CPU, without gradients, oneDNN computes both at once.
    3x3 convolutions of many channels and large maps are computed by Winograd's minimal filtering (Lavin and Gray,
    "Fast algorithms for convolutional neural networks", CVPR 2016) with 64 / 36 instead of 9 multiplications for each
    input and output channel of a position. Anything else is computed as by :class:`torch.nn.Conv2d`.

    A convolution becomes one by :meth:`take_over`.

    Attributes:
        activation: a key of ``POST_OPERATIONS``.
        pads_same: pad the map first, see :func:`gatezoo.layers.same_padding.pad_same`.
    """

    activation: nn.Module
    pads_same: bool

    @classmethod
    def take_over(cls, conv: nn.Conv2d, activation: nn.Module | None, pads_same: bool) -> None:
        """Change the class of a convolution in place, and the layout of its weight to the one that is read."""
        conv.__class__ = cls
        assert isinstance(conv, FusedConv2d)
        conv.activation = nn.Identity() if activation is None else activation
        conv.pads_same = pads_same
        layout = torch.contiguous_format if conv._suits_winograd else torch.channels_last
        conv.weight.data = conv.weight.data.contiguous(memory_format=layout)

    def forward(self, x: Tensor) -> Tensor:
        """Compute (B, C_in, H, W) -> (B, C_out, h, w)."""
        if self.pads_same:
            x = pad_same(x, extent_of(self), self.stride)
        if not self._is_quick(x):
            y = F.conv2d(x, self.weight, self.bias, self.stride, self.padding, self.dilation, self.groups)
            return self.activation(y)
        if self._suits_winograd and _pays(x, self.dilation[0]):
            y = _winograd(x, self.weight, self.bias, self.dilation[0])
            return self.activation(y.contiguous(memory_format=torch.channels_last))
        return torch.ops.mkldnn._convolution_pointwise(
            x.contiguous(memory_format=torch.channels_last),
            self.weight,
            self.bias,
            self.padding,
            self.stride,
            self.dilation,
            self.groups,
            *POST_OPERATIONS[type(self.activation)],
        )

    def _is_quick(self, x: Tensor) -> bool:
        return bool(
            not is_tracing()
            and x.device.type == self.weight.device.type == "cpu"
            and x.dtype == self.weight.dtype == torch.float32
            and x.numel() > 0
            and not (torch.is_grad_enabled() and (x.requires_grad or self.weight.requires_grad))
            and torch.backends.mkldnn.enabled
            and not self._suits_one_thread(x)
        )

    def _suits_one_thread(self, x: Tensor) -> bool:
        pointwise = self.kernel_size == (1, 1) and self.groups == 1
        return pointwise and x[0, 0].numel() < _MAP_OF_ONE_THREAD and torch.get_num_threads() == 1

    @property
    def _suits_winograd(self) -> bool:
        alike = self.groups == 1 and self.kernel_size == (3, 3) and self.stride == (1, 1)
        centered = self.padding == self.dilation and self.dilation[0] == self.dilation[1]
        return alike and centered and min(self.in_channels, self.out_channels) >= _WINOGRAD_CHANNELS


@functools.cache
def _has_winograd() -> bool:
    """Return whether NNPACK is there, and as wide as oneDNN: it does not know AVX-512."""
    return torch.backends.cpu.get_cpu_capability() == "AVX2" and torch._nnpack_available()


def _pays(x: Tensor, dilation: int) -> bool:
    """Return whether Winograd's way is quicker for a map of this size."""
    if len(x) > 1 or not _has_winograd():
        return False
    positions = tiles = 1
    for side in x.shape[-2:]:
        # Of the map that _winograd makes of a dilated one.
        computed = side if dilation == 1 else dilation * (-(-side // dilation) + 1)
        positions, tiles = positions * side, tiles * -(-computed // _TILE)
    return tiles >= _WINOGRAD_TILES and tiles * _TILE**2 <= _WINOGRAD_WASTE * positions


def _winograd(x: Tensor, weight: Tensor, bias: Tensor | None, dilation: int) -> Tensor:
    """Convolve (1, C_in, H, W) -> (1, C_out, H, W) by 3x3 kernels, padded by zeros.

    The positions of equal remainders of row and column by the dilation are a map of their own, for which the
    convolution is not dilated. These maps are put side by side, with a line of zeros between them.
    """
    if dilation == 1:
        return torch._nnpack_spatial_convolution(x, weight, bias, (1, 1), (1, 1))
    channels, height, width = x.shape[1:]
    rows, columns = (-(-side // dilation) for side in (height, width))
    x = F.pad(x, (0, columns * dilation - width, 0, rows * dilation - height))
    apart = x.new_zeros(channels, dilation, rows + 1, dilation, columns + 1)
    # (C, row, its remainder, column, its remainder) -> (C, remainder, row, remainder, column)
    apart[:, :, :rows, :, :columns] = x.view(channels, rows, dilation, columns, dilation).permute(0, 2, 1, 4, 3)
    tall, wide = dilation * (rows + 1), dilation * (columns + 1)
    y = torch._nnpack_spatial_convolution(apart.view(1, channels, tall, wide), weight, bias, (1, 1), (1, 1))
    y = y.view(-1, dilation, rows + 1, dilation, columns + 1)[:, :, :rows, :, :columns]
    # The channels last: the layout that is asked for anyway.
    y = y.permute(2, 1, 4, 3, 0).reshape(1, rows * dilation, columns * dilation, -1)
    return y[:, :height, :width].permute(0, 3, 1, 2)
