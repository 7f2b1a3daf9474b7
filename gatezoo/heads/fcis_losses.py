"""Targets and losses of FCIS (Li et al., CVPR 2017, Sec. 3.2 and 3.3), each for every region alone."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.models.detection._utils import BalancedPositiveNegativeSampler, BoxCoder
from torchvision.models.detection.roi_heads import project_masks_on_boxes
from torchvision.ops import box_iou

# Of a region and an object, from which on the region has the object's class.
FOREGROUND_IOU = 0.5
# Share of a bin, from which on it is inside of an object; also that of the masks in evaluation.
MASK_THRESHOLD = 0.4
MASK_WEIGHT = 10.0
# Regions of an image that are trained when they are sampled, and the share of those with an object.
SAMPLED, FOREGROUND_SHARE = 128, 0.25


class RegionTargets(NamedTuple):
    """What n regions are trained to predict.

    Attributes:
        labels: (n,), class; 0 for the background.
        offsets: (n, 4), from the region to the object's box; 0 for the background.
        masks: (n, m, m), 1 inside of the object, 0 outside; 0 for the background.
    """

    labels: Tensor
    offsets: Tensor
    masks: Tensor

    def select(self, chosen: Tensor | slice) -> RegionTargets:
        """Return the targets of the regions with these numbers."""
        return RegionTargets(*(value[chosen] for value in self))


class RegionLosses(NamedTuple):
    """Losses of n regions, (n,) each: of the class, of the mask, and of the box."""

    classifier: Tensor
    mask: Tensor
    box_reg: Tensor


def match_regions(boxes: Tensor, target: dict[str, Tensor], coder: BoxCoder, side: int) -> RegionTargets:
    """Return the targets of the regions of one image: each has the object that it overlaps most.

    Args:
        boxes: (n, 4) of the regions.
        target: boxes (N, 4), labels (N,) and masks (N, H, W) of the objects; N may be 0.
        coder: of boxes as offsets.
        side: m of the masks.
    """
    labels = torch.zeros(len(boxes), dtype=torch.int64, device=boxes.device)
    offsets, masks = torch.zeros_like(boxes), boxes.new_zeros(len(boxes), side, side)
    if len(target["boxes"]) == 0 or len(boxes) == 0:
        return RegionTargets(labels, offsets, masks)
    overlap, best = box_iou(target["boxes"].to(boxes), boxes).max(0)
    (found,) = torch.where(overlap >= FOREGROUND_IOU)
    best = best[found]
    labels[found] = target["labels"][best]
    offsets[found] = coder.encode_single(target["boxes"][best].to(boxes), boxes[found])
    inside = project_masks_on_boxes(target["masks"], boxes[found], best, side)
    masks[found] = (inside >= MASK_THRESHOLD).to(masks.dtype)
    return RegionTargets(labels, offsets, masks)


def region_losses(logits: Tensor, offsets: Tensor, insides: Tensor, targets: RegionTargets) -> RegionLosses:
    """Compute the losses of each region.

    With d(bin) the inside minus the outside score of the region's true class, and t(bin) in {0, 1} its mask::

        classifier = cross-entropy of the logits
        mask       = mean over the bins of the cross-entropy of softmax(outside, inside), which is sigmoid(d), and t
        box_reg    = sum over the four offsets of the smooth L1 loss, beta 1

    The last two are 0 for the background.

    Args:
        logits: (n, K).
        offsets: (n, 4).
        insides: d, (n, m, m).
        targets: of the n regions.
    """
    is_object = (targets.labels > 0).to(logits.dtype)
    mask = F.binary_cross_entropy_with_logits(insides, targets.masks, reduction="none").mean((1, 2))
    box_reg = F.smooth_l1_loss(offsets, targets.offsets, reduction="none").sum(1)
    return RegionLosses(
        F.cross_entropy(logits, targets.labels, reduction="none"), mask * is_object, box_reg * is_object
    )


def hardest(losses: RegionLosses, count: int) -> Tensor:
    """Return the numbers of the ``count`` regions of an image with the largest losses.

    (Shrivastava et al., Training region-based object detectors with online hard example mining, CVPR 2016, Sec. 4.)
    """
    total = losses.classifier + MASK_WEIGHT * losses.mask + losses.box_reg
    return total.topk(min(count, len(total))).indices


def sample_regions(labels: Tensor) -> Tensor:
    """Return the numbers of 128 random regions of an image, at most a quarter of them with an object."""
    positive, negative = BalancedPositiveNegativeSampler(SAMPLED, FOREGROUND_SHARE)([labels])
    return torch.where(positive[0] | negative[0])[0]


def total_losses(losses: RegionLosses) -> dict[str, Tensor]:
    """Return the losses of a batch under torchvision's names, each divided by the number of regions."""
    count = max(1, len(losses.classifier))
    return {
        "loss_classifier": losses.classifier.sum() / count,
        "loss_box_reg": losses.box_reg.sum() / count,
        "loss_mask": MASK_WEIGHT * losses.mask.sum() / count,
    }
