"""Instances of FCIS (Li et al., CVPR 2017, Sec. 3.2): chosen among candidates, then voted on at image size."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torchvision.models.detection.transform import resize_boxes
from torchvision.ops import batched_nms, clip_boxes_to_image, remove_small_boxes

from .fcis_losses import MASK_THRESHOLD
from .mask_voting import as_half_threshold, vote

# Least side of an instance, in pixels of the resized image.
MIN_SIDE = 2.0


def choose_instances(
    boxes: Tensor, scores: Tensor, masks: Tensor, least_score: float, nms: float, most: int
) -> dict[str, Any]:
    """Choose the instances of an image: pairs of a candidate and a class, by NMS within each class.

    A candidate may be an instance of several classes, since boxes are of no class.

    Args:
        boxes: of M candidates (M, 4).
        scores: their probabilities (M, K), the background being class 0.
        masks: their probabilities of being inside (M, K, m, m).
        least_score: of an instance.
        nms: IoU of two instances of a class above which the less certain is dropped.
        most: largest number of instances.

    Returns:
        boxes (N, 4), labels (N,), scores (N,), highest first, masks (N, 1, m, m), and "candidates": boxes, scores and
        masks of those that are large enough, and the number of each instance among them (N,).
    """
    kept = remove_small_boxes(boxes, MIN_SIDE)
    boxes, scores, masks = boxes[kept], scores[kept], masks[kept]
    candidate, label = torch.where(scores[:, 1:] >= least_score)
    label = label + 1
    chosen = batched_nms(boxes[candidate], scores[candidate, label], label, nms)[:most]
    candidate, label = candidate[chosen], label[chosen]
    return {
        "boxes": boxes[candidate],
        "labels": label,
        "scores": scores[candidate, label],
        "masks": masks[candidate, label][:, None].to(boxes.dtype),
        "candidates": (boxes, scores, masks, candidate),
    }


def resize_instances(
    instances: dict[str, Any], inner: Sequence[int], size: Sequence[int], masks_of: str
) -> dict[str, Any]:
    """Return the instances of a resized image at the size of the original.

    Masks are stored so that ``masks >= 0.5`` is the authors' threshold of .4.

    Args:
        instances: those of :func:`choose_instances`.
        inner: (H, W) of the resized image.
        size: (H, W) of the original.
        masks_of: masks that vote, see :func:`gatezoo.heads.mask_voting.vote`; "none": each instance keeps the box and
            the mask of its candidate.
    """
    height, width = size
    boxes, scores, masks, candidate = instances["candidates"]
    boxes = clip_boxes_to_image(resize_boxes(boxes, list(inner), [height, width]), (height, width))
    found = {key: instances[key] for key in ("labels", "scores")}
    if masks_of == "none":
        own = as_half_threshold(instances["masks"], MASK_THRESHOLD)
        return {**found, "boxes": boxes[candidate], "masks": own}
    new_boxes, voted = vote(
        boxes,
        scores,
        masks,
        candidate,
        found["labels"],
        (height, width),
        threshold=MASK_THRESHOLD,
        mask_of=masks_of,
    )
    return {**found, "boxes": new_boxes, "masks": voted}
