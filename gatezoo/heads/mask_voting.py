"""Masks and boxes of detections by a weighted vote of the candidates around them."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.ops import box_iou, clip_boxes_to_image

from ..utils.choices import check_choice

# Pixels drawn at once: few enough for the processor's cache, enough for small objects to need few calls.
_PIXELS_AT_ONCE = 2**19
# Sides of a canvas at most. Masks of some twenty pixels tell no more, and hundreds of them vote on large objects.
_MAX_SIDE = 512


def as_half_threshold(masks: Tensor, threshold: float = 0.4) -> Tensor:
    """Rescale probabilities so that those from ``threshold`` on are those from 0.5 on: min(v 0.5 / threshold, 1).

    Masks are drawn at 0.5 throughout the library; FCIS draws its own at 0.4.
    """
    return (masks.float() * (0.5 / threshold)).clamp(max=1)


def vote(
    boxes: Tensor,
    scores: Tensor,
    masks: Tensor,
    kept: Tensor,
    labels: Tensor,
    size: tuple[int, int],
    threshold: float = 0.4,
    iou: float = 0.5,
    mask_of: str = "class",
) -> tuple[Tensor, Tensor]:
    """Return the boxes and masks of the kept detections, each voted by the candidates that overlap it.

    The supporters of a detection (candidate r, class c) are r and all candidates s with IoU(box_s, box_r) >= iou, and
    they weigh w_s = p_s(c) / sum of p(c) over the supporters. With m_s resized bilinearly to the pixels of box_s, whose
    edges are rounded and at least one pixel apart, the canvas of the detection is the sum of w_s [m_s >= threshold].
    Its new box is the smallest around the pixels where the canvas is at least the threshold, right and bottom edges
    behind the last pixel, and its new mask the canvas within that box, resized bilinearly to (m, m). A detection
    without such pixels keeps its box and its own mask of class c. The canvas spans the boxes of its supporters, within
    the image; one of more than 512 pixels on a side is drawn at 1/2, 1/3, ... of the image's resolution. Computed in
    float32, also under autocast. (FCIS, Li et al., CVPR 2017, Sec. 2.3, and Dai et al., "Instance-aware semantic
    segmentation via multi-task network cascades", CVPR 2016.)

    Args:
        boxes: of M candidates (M, 4), x1 y1 x2 y2 in pixels of the image; clipped to it.
        scores: probabilities p (M, K), the background being class 0.
        masks: probabilities of being inside (M, K, m, m), floating point.
        kept: numbers r of the detections' candidates (N,).
        labels: classes c of the detections (N,), in 1 .. K - 1.
        size: (H, W) of the image.
        threshold: least probability of a mask's pixels, in 0 .. 1, 0 excluded.
        iou: least IoU of a supporter.
        mask_of: the m_s that a supporter gives: "class", that of class c, as the paper says, or "best", that of its own
            best class but the background, as the authors' code does.

    Returns:
        Boxes (N, 4), and masks (N, 1, m, m) by :func:`as_half_threshold`.

    Raises:
        ValueError: a threshold that is not in 0 .. 1, or an unknown ``mask_of``.
    """
    check_choice("mask_of", mask_of, ("class", "best"))
    if not 0 < threshold <= 1:
        raise ValueError(f"threshold must be in 0 .. 1, 0 excluded; got {threshold}: 0.4 is the paper's")
    boxes = clip_boxes_to_image(boxes.float(), size)
    supports = box_iou(boxes[kept], boxes) >= iou
    # The IoU of an empty box with itself is not a number.
    supports[torch.arange(len(kept), device=kept.device), kept] = True
    best = scores[:, 1:].argmax(1) + 1
    voted_boxes, voted = boxes[kept], masks[kept, labels].float()
    for number, (label, chosen) in enumerate(zip(labels.tolist(), supports)):
        supporters = chosen.nonzero()[:, 0]
        weights = scores[supporters, label].float()
        weights = weights / weights.sum().clamp(min=torch.finfo(torch.float32).tiny)
        given = masks[supporters, label if mask_of == "class" else best[supporters]].float()
        step = _pixel_side(boxes[supporters])
        pixels = _whole_pixels(boxes[supporters] / step, (-(-size[0] // step), -(-size[1] // step)))
        origin, canvas = _canvas(given, pixels, weights, threshold)
        inside = canvas >= threshold
        rows, columns = inside.any(1).nonzero()[:, 0].tolist(), inside.any(0).nonzero()[:, 0].tolist()
        if rows:
            top, bottom, left, right = rows[0], rows[-1] + 1, columns[0], columns[-1] + 1
            voted_boxes[number] = step * (origin + origin.new_tensor([left, top, right, bottom]))
            part = canvas[None, None, top:bottom, left:right]
            voted[number] = F.interpolate(part, voted.shape[-2:], mode="bilinear")[0, 0]
    return clip_boxes_to_image(voted_boxes, size), as_half_threshold(voted, threshold)[:, None]


def _pixel_side(boxes: Tensor) -> int:
    """Return the side of a canvas's pixels, in pixels of the image."""
    reach = (boxes[:, 2:].amax(0) - boxes[:, :2].amin(0)).amax()
    return max(1, math.ceil(reach.item() / _MAX_SIDE))


def _whole_pixels(boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """Return boxes (S, 4) at whole pixels of a canvas, int64, the right and bottom edges behind the last pixel."""
    edges = boxes.round().to(torch.int64)
    last = edges.new_tensor([size[1] - 1, size[0] - 1])
    start = edges[:, :2].minimum(last)
    return torch.cat([start, edges[:, 2:].maximum(start + 1)], 1)


def _canvas(masks: Tensor, pixels: Tensor, weights: Tensor, threshold: float) -> tuple[Tensor, Tensor]:
    """Add the weights (S,) of masks (S, m, m), drawn at their pixels (S, 4), where they reach the threshold.

    Returns:
        The canvas's first pixel as x y x y, and the canvas (h, w), which spans all the boxes.
    """
    origin, end = pixels[:, :2].amin(0), pixels[:, 2:].amax(0)
    width, height = (end - origin).tolist()
    within = pixels - origin.repeat(2)
    canvas = masks.new_zeros(height * width)
    # Rounded to 16 bits, pixels would change sides.
    with torch.autocast(masks.device.type, enabled=False):
        for part in torch.arange(len(masks), device=masks.device).split(max(1, _PIXELS_AT_ONCE // (height * width))):
            rows = _bilinear(within[part, 1], within[part, 3], height, masks.shape[-2])
            columns = _bilinear(within[part, 0], within[part, 2], width, masks.shape[-1])
            drawn = rows @ (masks[part] @ columns.mT)
            canvas += weights[part] @ drawn.ge_(threshold).flatten(1)
    return origin.repeat(2), canvas.view(height, width)


def _bilinear(start: Tensor, end: Tensor, length: int, cells: int) -> Tensor:
    """Return the matrices (S, length, cells) that spread ``cells`` over the pixels start .. end - 1, bilinearly.

    Pixel p reads u = (p + 0.5 - start) cells / (end - start) - 0.5, clamped to 0 .. cells - 1; others read nothing.
    """
    pixel = torch.arange(length, device=start.device)
    stretch = cells / (end - start).float()
    at = ((pixel + 0.5 - start[:, None]) * stretch[:, None] - 0.5).clamp(0, cells - 1)
    share = (1 - (at[..., None] - torch.arange(cells, device=start.device)).abs()).clamp(min=0)
    return share * ((pixel >= start[:, None]) & (pixel < end[:, None]))[..., None]
