"""Tensor plumbing shared by gates and heads. Knows nothing of gates, models or weights."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


class ConvNormAct(nn.Sequential):
    """Convolution without bias, batch norm, ReLU: (B, C_in, H, W) -> (B, C_out, H, W).

    Args:
        norm: the kind of batch norm; :class:`SingletonBatchNorm2d` behind a pool to a single position.
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


class SingletonBatchNorm2d(nn.BatchNorm2d):
    """Batch norm of maps pooled to a single position, which can also train on a batch of one.

    One value a channel has no variance, and torch refuses it in training. Its running statistics are used then, and
    left as they are: for that batch the layer is what it is in evaluation.
    """

    def forward(self, x: Tensor) -> Tensor:
        if self.training and x.numel() == x.shape[1]:
            return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)
        return super().forward(x)
