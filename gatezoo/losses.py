"""Losses of the logits and labels of a batch, and class weights.

Every loss is ``loss(logits (B, K, H, W), labels (B, H, W)) -> scalar``; ignored pixels do not count.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .layers.depth_bins import is_known, scale_bins
from .layers.resize import resize_to
from .utils.distributed import reduce_mean


class CrossEntropy(nn.Module):
    """sum_p w[y_p] (-log softmax(z_p)[y_p]) / sum_p w[y_p] over the labelled pixels p; 0 if there are none.

    The denominator is that of the batch over all processes, so that several processes give one's gradient however
    unevenly ignored pixels fall.
    """

    def __init__(self, weight: Tensor | None = None, ignore_index: int = 255):
        super().__init__()
        self.register_buffer("weight", weight, persistent=False)
        self.ignore_index = ignore_index

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        total = F.cross_entropy(logits, labels, self.weight, ignore_index=self.ignore_index, reduction="sum")
        return total / self.count(labels, total)

    def count(self, labels: Tensor, like: Tensor) -> Tensor:
        """The denominator."""
        labelled = labels[labels != self.ignore_index]
        count = labelled.numel() if self.weight is None else self.weight[labelled].sum()
        return reduce_mean(torch.as_tensor(count, dtype=like.dtype, device=like.device))


class Focal(CrossEntropy):
    """Cross-entropy with each pixel's term times (1 - softmax(z_p)[y_p])^gamma (Lin et al., 2017), gamma = 2."""

    gamma = 2.0

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        each = F.cross_entropy(logits, labels, ignore_index=self.ignore_index, reduction="none")
        weighted = F.cross_entropy(logits, labels, self.weight, ignore_index=self.ignore_index, reduction="none")
        # 1 - exp(-each), without the loss of digits near 0.
        total = (-torch.expm1(-each)).pow(self.gamma).mul(weighted).sum()
        return total / self.count(labels, total)


class OnlineHardExamples(nn.Module):
    """Mean cross-entropy over the hard pixels: those whose own class gets less than ``threshold``, but at least
    ``least`` of the labelled ones, the hardest first (online hard example mining; Shrivastava et al., 2016).
    """

    def __init__(
        self, weight: Tensor | None = None, ignore_index: int = 255, threshold: float = 0.7, least: float = 1 / 16
    ):
        super().__init__()
        self.register_buffer("weight", weight, persistent=False)
        self.ignore_index, self.threshold, self.least = ignore_index, threshold, least

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        known = labels != self.ignore_index
        if not known.any():
            return logits.sum() * 0
        with torch.no_grad():
            own = F.cross_entropy(logits, labels, ignore_index=self.ignore_index, reduction="none")[known]
            count = max(1, round(self.least * own.numel()))
            bar = torch.minimum(own.topk(count).values[-1], -torch.log(own.new_tensor(self.threshold)))
            hard = own >= bar
        each = F.cross_entropy(logits, labels, self.weight, ignore_index=self.ignore_index, reduction="none")
        return each[known][hard].mean()


class OfLibrary(nn.Module):
    """A loss of segmentation_models_pytorch, by the first part of its name; 0 for a batch without labels."""

    def __init__(self, name: str, weight: Tensor | None, ignore_index: int):
        super().__init__()
        if weight is not None:
            raise ValueError(f"class_weights must be none for the {name.lower()} loss alone; got others")
        from segmentation_models_pytorch import losses

        self.loss = getattr(losses, f"{name}Loss")("multiclass", ignore_index=ignore_index)
        self.ignore_index = ignore_index

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        return self.loss(logits, labels) if (labels != self.ignore_index).any() else logits.sum() * 0


# By name; Dice and Lovasz are those of segmentation_models_pytorch.
LOSSES: dict[str, Callable[[Tensor | None, int], nn.Module]] = {
    "cross_entropy": CrossEntropy,
    "ohem": OnlineHardExamples,
    "focal": Focal,
    "dice": functools.partial(OfLibrary, "Dice"),
    "lovasz": functools.partial(OfLibrary, "Lovasz"),
}


class SumOfLosses(nn.Module):
    """The sum of several losses."""

    def __init__(self, terms: list[nn.Module]):
        super().__init__()
        self.terms = nn.ModuleList(terms)

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        return torch.stack([term(logits, labels) for term in self.terms]).sum()


def make_loss(kind: str, weight: Tensor | None = None, ignore_index: int = 255) -> nn.Module:
    """A loss by name, or several joined by "+": "cross_entropy", "ohem", "cross_entropy+dice".

    Args:
        weight: of each class, (K,). Dice and Lovasz take none; in a sum it is given to the others.
        ignore_index: label that does not count.
    """
    names = kind.split("+")
    unknown = [name for name in names if name not in LOSSES]
    if unknown:
        raise ValueError(f"a loss must be one of {', '.join(LOSSES)}, or some joined by +; got {unknown[0]!r}")
    if len(names) == 1:
        return LOSSES[kind](weight, ignore_index)
    without = ("dice", "lovasz")
    return SumOfLosses([LOSSES[name](None if name in without else weight, ignore_index) for name in names])


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
        return errors.square().sum() / reduce_mean(known.sum().to(errors.dtype))
