"""Padding by which the map of a convolution has ceil(n / s) rows, as TensorFlow and timm pad."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


def pad_same(x: Tensor, conv: nn.Conv2d) -> Tensor:
    """Pad a batch (B, C, H, W) for a convolution without padding, of windows at least as large as their stride.

    A side n is padded to the s floor((n - 1) / s) + k positions that ceil(n / s) windows of k in steps of s read, half
    of the padding on each side, the larger half behind. timm computes the same number by a maximum and a division of
    floats, of which an exporter keeps every term: after five strides a size is an expression of hundreds of terms.
    """
    edges: list[int] = []
    for axis in (1, 0):  # torch counts edges from the last axis on
        side, stride = x.shape[axis - 2], conv.stride[axis]
        total = (side - 1) // stride * stride + extent(conv, axis) - side
        edges += [total // 2, total - total // 2]
    return F.pad(x, edges)


def extent(conv: nn.Conv2d, axis: int) -> int:
    """Return how many positions a window spans along an axis, 0 the rows."""
    return conv.dilation[axis] * (conv.kernel_size[axis] - 1) + 1
