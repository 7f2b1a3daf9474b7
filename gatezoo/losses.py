"""Losses of the logits and labels of a batch, and of depth.

Every loss of labels is ``loss(logits (B, K, H, W), labels (B, H, W)) -> scalar``; ignored pixels do not count.
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
    """Cross-entropy, sum_p w[y_p] (-log softmax(z_p)[y_p]) / sum_p w[y_p] over the labeled pixels p; 0 without any.

    The denominator is that of the batch over all processes, so that several processes have the gradient of a single
    one however unevenly the ignored pixels are distributed.

    Args:
        weight: w, of each class, (K,); None for equal weights.
        ignore_index: label of ignored pixels.
    """

    weight: Tensor | None

    def __init__(self, weight: Tensor | None = None, ignore_index: int = 255):
        super().__init__()
        self.register_buffer("weight", weight, persistent=False)
        self.ignore_index = ignore_index

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        total, count = self.sums(logits, labels)
        return total / reduce_mean(count)

    def sums(self, logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Return numerator and denominator of this process alone."""
        scores, classes = logits, labels
        if logits.is_contiguous(memory_format=torch.channels_last):  # torch is quicker on rows of classes than on maps
            scores, classes = logits.permute(0, 2, 3, 1).flatten(0, 2), labels.flatten()
        total = F.cross_entropy(scores, classes, self.weight, ignore_index=self.ignore_index, reduction="sum")
        return total, self.count(labels, total)

    def count(self, labels: Tensor, like: Tensor) -> Tensor:
        """Return the sum of the weights of the labeled pixels."""
        labeled = labels != self.ignore_index
        # Each pixel's weight times 0 or 1, rather than a selection, whose size a GPU would have to wait for.
        count = labeled if self.weight is None else self.weight[torch.where(labeled, labels, 0)] * labeled
        return count.sum().to(like)


class Focal(CrossEntropy):
    """Focal loss, cross-entropy with each term times (1 - softmax(z_p)[y_p])^gamma, gamma = 2 (Lin et al., 2017)."""

    gamma = 2.0

    def sums(self, logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        each = F.cross_entropy(logits, labels, ignore_index=self.ignore_index, reduction="none")
        weighted = F.cross_entropy(logits, labels, self.weight, ignore_index=self.ignore_index, reduction="none")
        # 1 - exp(-each), without loss of precision near 0.
        total = (-torch.expm1(-each)).pow(self.gamma).mul(weighted).sum()
        return total, self.count(labels, total)


class OnlineHardExamples(nn.Module):
    """Mean cross-entropy over the hard pixels (online hard example mining; Shrivastava et al., 2016).

    Pixels are hard if the probability of their class is below ``threshold``. If fewer than the share ``least`` of the
    labeled pixels are, the hardest ones of that share count. The loss is 0 for a batch without labels.

    Args:
        weight: of each class, (K,); None for equal weights.
        ignore_index: label of ignored pixels.
        threshold: probability of the pixel's class below which it is hard.
        least: smallest share of the labeled pixels that count.
    """

    weight: Tensor | None

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
            values = F.cross_entropy(logits, labels, ignore_index=self.ignore_index, reduction="none")[known]
            count = max(1, round(self.least * values.numel()))
            bound = torch.minimum(values.topk(count).values[-1], -torch.log(values.new_tensor(self.threshold)))
            hard = values >= bound
        each = F.cross_entropy(logits, labels, self.weight, ignore_index=self.ignore_index, reduction="none")
        return each[known][hard].mean()


class SMPLoss(nn.Module):
    """Loss of segmentation_models_pytorch; 0 for a batch without labels.

    Args:
        name: of the class in that library, without "Loss".
        weight: must be None, since these losses take no class weights.
        ignore_index: label of ignored pixels.

    Raises:
        ValueError: weights are given.
    """

    def __init__(self, name: str, weight: Tensor | None, ignore_index: int):
        super().__init__()
        if weight is not None:
            raise ValueError(
                f"class_weights must be none for the {name.lower()} loss alone; got weights: pass class_weights='none'"
            )
        from segmentation_models_pytorch import losses

        self.loss = getattr(losses, f"{name}Loss")("multiclass", ignore_index=ignore_index)
        self.ignore_index = ignore_index

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        return self.loss(logits, labels) if (labels != self.ignore_index).any() else logits.sum() * 0


# Losses by name; Dice and Lovasz are those of segmentation_models_pytorch.
LOSSES: dict[str, Callable[[Tensor | None, int], nn.Module]] = {
    "cross_entropy": CrossEntropy,
    "ohem": OnlineHardExamples,
    "focal": Focal,
    "dice": functools.partial(SMPLoss, "Dice"),
    "lovasz": functools.partial(SMPLoss, "Lovasz"),
}


class SumOfLosses(nn.Module):
    """Sum of several losses."""

    def __init__(self, terms: list[nn.Module]):
        super().__init__()
        self.terms = nn.ModuleList(terms)

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        return torch.stack([term(logits, labels) for term in self.terms]).sum()


def make_loss(kind: str, weight: Tensor | None = None, ignore_index: int = 255) -> nn.Module:
    """Return a loss by name, or the sum of several joined by "+".

    Args:
        kind: such as "cross_entropy", "ohem" or "cross_entropy+dice".
        weight: of each class, (K,). Dice and Lovasz take none; in a sum only the other losses receive it.
        ignore_index: label of ignored pixels.

    Raises:
        ValueError: a name is unknown, or weights are given for Dice or Lovasz alone.
    """
    names = kind.split("+")
    unknown = [name for name in names if name not in LOSSES]
    if unknown:
        raise ValueError(f"loss must be one of {', '.join(LOSSES)}, or several joined by +; got {unknown[0]!r}")
    if len(names) == 1:
        return LOSSES[kind](weight, ignore_index)
    unweighted = ("dice", "lovasz")
    return SumOfLosses([LOSSES[name](None if name in unweighted else weight, ignore_index) for name in names])


class DepthLoss(nn.Module):
    """Loss of a predicted depth D and of the scale logits z, over the pixels M of known depth D*.

    r / |M| sum_M (ln D - ln D*)^2 + c / |M| sum_M -ln softmax(z)[bin of D*]. The logits are resized to the depth; the
    softmax is applied here, once. The loss is 0 if no depth is known.

    Args:
        regression: r, the weight of the squared error of the log-depth.
        scale: c, the weight of the cross-entropy of the scales.
    """

    def __init__(self, regression: float = 1.0, scale: float = 1.0):
        super().__init__()
        self.regression, self.scale = regression, scale
        self.cross_entropy = CrossEntropy(ignore_index=-1)

    def forward(self, log_depth: Tensor, scale_logits: Tensor, depth: Tensor, thresholds: Tensor) -> Tensor:
        """Compute the loss of one pass.

        Args:
            log_depth: ln D, (B, H, W).
            scale_logits: z, (B, S, h, w).
            depth: D*, in metres, (B, H, W).
            thresholds: between the scales, (S - 1,).
        """
        logits = resize_to(scale_logits.float(), depth.shape[-2:])
        squared = self._squared(log_depth.float(), depth.float())
        return self.regression * squared + self.scale * self.cross_entropy(logits, scale_bins(depth, thresholds))

    def _squared(self, log_depth: Tensor, depth: Tensor) -> Tensor:
        known = is_known(depth)
        errors = torch.where(known, log_depth - depth.log(), 0.0)
        return errors.square().sum() / reduce_mean(known.sum().to(errors.dtype))
