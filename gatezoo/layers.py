"""Tensor plumbing shared by gates and heads. Knows nothing of gates, models or weights."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class ConvNormAct(nn.Sequential):
    """Convolution without bias, batch norm, ReLU: (B, C_in, H, W) -> (B, C_out, H, W)."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int = 3, dilation: int = 1):
        super().__init__(
            nn.Conv2d(
                in_channels,
                out_channels,
                kernel_size,
                padding=dilation * (kernel_size // 2),
                dilation=dilation,
                bias=False,
            ),
            nn.BatchNorm2d(out_channels),
            nn.ReLU(inplace=True),
        )


def resize_to(x: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize (B, C, h, w) bilinearly to (B, C, *size), pixel centres aligned (``align_corners=False``)."""
    # Not while tracing: the comparison would tie an exported network to pictures that compare as the traced one did.
    traced = torch.compiler.is_compiling() or torch.compiler.is_exporting()
    if not traced and x.shape[-2:] == tuple(size):
        return x
    return F.interpolate(x, size=size, mode="bilinear", align_corners=False)


def averaging_matrix(size: int, bins: int, like: Tensor) -> Tensor:
    """Matrix (bins, size) whose row b averages positions floor(b size / bins) .. ceil((b + 1) size / bins) - 1."""
    position = torch.arange(size, device=like.device)
    bin_ = torch.arange(bins, device=like.device)[:, None]
    start = bin_ * size // bins
    end = ((bin_ + 1) * size + bins - 1) // bins
    inside = (position >= start) & (position < end)
    return inside.to(like.dtype) / (end - start).to(like.dtype)


def pool_to_grids(x: Tensor, grids: Sequence[int]) -> list[Tensor]:
    """Average pool (B, C, H, W) to (B, C, b, b) for each b of ``grids``; the numbers of ``F.adaptive_avg_pool2d``.

    Two matrix products, A_h x A_w^T, because the ATen operator freezes the traced picture size when a network
    is exported: at any other size the exported network is silently wrong. The rows of all grids are stacked, so that
    a large map is read once; of the products of their rows, the blocks on the diagonal are the grids.
    """
    if not grids:
        return []
    height, width = x.shape[-2:]
    down = torch.cat([averaging_matrix(height, bins, x) for bins in grids])
    across = torch.cat([averaging_matrix(width, bins, x) for bins in grids])
    pooled = down @ x @ across.T
    ends = list(itertools.accumulate(grids, initial=0))
    return [pooled[..., start:end, start:end] for start, end in itertools.pairwise(ends)]
