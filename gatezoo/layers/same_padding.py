"""Padding by which the map of a convolution or a pool has ceil(n / s) rows, as TensorFlow and timm pad."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn


def pad_same(x: Tensor, extent: Sequence[int], stride: Sequence[int]) -> Tensor:
    """Pad a batch (B, C, H, W) for windows of k = ``extent`` in steps of s = ``stride``, rows first; k is at least s.

    A side n is padded to the s floor((n - 1) / s) + k positions that ceil(n / s) windows of k in steps of s read, half
    of the padding on each side, the larger half behind. timm computes the same number by a maximum and a division of
    floats, of which an exporter keeps every term: after five strides a size is an expression of hundreds of terms.
    """
    edges: list[int] = []
    for axis in (1, 0):  # torch counts edges from the last axis on
        side, step = x.shape[axis - 2], stride[axis]
        total = (side - 1) // step * step + extent[axis] - side
        edges += [total // 2, total - total // 2]
    return F.pad(x, edges)


def extent_of(conv: nn.Conv2d) -> list[int]:
    """Return how many rows and columns a window of a convolution spans."""
    return [dilation * (kernel - 1) + 1 for kernel, dilation in zip(conv.kernel_size, conv.dilation)]
