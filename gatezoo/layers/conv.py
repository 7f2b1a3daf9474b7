"""Convolution blocks and batch norm shared by gates and heads."""

from __future__ import annotations

from typing import cast

import torch.nn.functional as F
from torch import Tensor, nn


class ConvNormAct(nn.Sequential):
    """Convolution without bias, batch norm, ReLU: (B, C_in, H, W) -> (B, C_out, H, W).

    Args:
        in_channels: C_in.
        out_channels: C_out.
        kernel_size: side of the kernel; odd, padded so that the map keeps its size.
        dilation: of the kernel.
        norm: class of the batch norm; :class:`SingletonBatchNorm2d` after pooling to a single position.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int = 3,
        dilation: int = 1,
        norm: type[nn.BatchNorm2d] = nn.BatchNorm2d,
    ):
        super().__init__(
            nn.Conv2d(
                in_channels,
                out_channels,
                kernel_size,
                padding=dilation * (kernel_size // 2),
                dilation=dilation,
                bias=False,
            ),
            norm(out_channels),
            nn.ReLU(inplace=True),
        )

    @property
    def conv(self) -> nn.Conv2d:
        """Return the convolution."""
        return cast(nn.Conv2d, self[0])


class SingletonBatchNorm2d(nn.BatchNorm2d):
    """Batch norm of maps pooled to a single position that can also train on a batch of one.

    A single value per channel has no variance, and torch refuses it in training. In that case the layer uses its
    running statistics without updating them, as it does in evaluation mode.
    """

    def forward(self, x: Tensor) -> Tensor:
        if self.training and x.numel() == x.shape[1]:
            return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)
        return super().forward(x)
