"""Losses that teach a network depth (Kong and Fowlkes, Sec. 3 and eq. 1). Pixels of unknown depth do not count."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .gates.depth import is_known, scale_bins
from .layers.conv import resize_to
from .losses import CrossEntropy, mean_over_processes


class DepthLoss(nn.Module):
    """r / |M| sum_M (ln D - ln D*)^2 + c / |M| sum_M -ln softmax(z)[bin of D*], M the pixels of known depth D*.

    Logits z are resized to the depth; the softmax is taken here, once. 0 where no depth is known.

    Args:
        regression: r, the weight of the squared error of the log-depth.
        scale: c, the weight of the cross-entropy of the scales.
    """

    def __init__(self, regression: float = 1.0, scale: float = 1.0):
        super().__init__()
        self.regression, self.scale = regression, scale
        self.cross_entropy = CrossEntropy(ignore_index=-1)

    def forward(self, log_depth: Tensor, scale_logits: Tensor, depth: Tensor, thresholds: Tensor) -> Tensor:
        """Of one loop: ln D (B, H, W), z (B, S, h, w), depth in metres (B, H, W), thresholds (S - 1,) -> scalar."""
        logits = resize_to(scale_logits.float(), depth.shape[-2:])
        squared = self._squared(log_depth.float(), depth.float())
        return self.regression * squared + self.scale * self.cross_entropy(logits, scale_bins(depth, thresholds))

    def _squared(self, log_depth: Tensor, depth: Tensor) -> Tensor:
        known = is_known(depth)
        errors = torch.where(known, log_depth - depth.log(), 0.0)
        return errors.square().sum() / mean_over_processes(known.sum().to(errors.dtype))
