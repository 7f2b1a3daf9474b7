"""Check the targets that an instance segmentation network is trained with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor


def check_targets(sizes: Sequence[Sequence[int]], targets: Sequence[dict[str, Any]], num_classes: int) -> None:
    """Check that there is a target for each image, and that its parts describe the same N instances.

    The parts are boxes, float (N, 4) x1 y1 x2 y2 with area, inside the image; labels, int64 (N,) in
    1 .. num_classes - 1; masks (N, H, W). N may be 0.

    Args:
        sizes: (H, W) of each image.
        targets: one for each image.
        num_classes: with the background, which is class 0.

    Raises:
        ValueError: any other target; the message names it by number.
    """
    if len(targets) != len(sizes):
        raise ValueError(
            f"targets must be one for each image; got {len(targets)} for {len(sizes)}: "
            "give a target of N = 0 to an image without instances"
        )
    for number, (size, target) in enumerate(zip(sizes, targets)):
        height, width = size
        try:
            _check_target((height, width), target, num_classes)
        except ValueError as error:
            raise ValueError(f"target {number}: {error}") from None


def _check_target(size: tuple[int, int], target: dict[str, Any], num_classes: int) -> None:
    missing = [key for key in ("boxes", "labels", "masks") if not isinstance(target.get(key), Tensor)]
    if missing:
        raise ValueError(f"it must have the tensors boxes, labels and masks; {missing[0]} is none")
    boxes, labels, masks = target["boxes"], target["labels"], target["masks"]
    if boxes.ndim != 2 or boxes.shape[1] != 4 or not boxes.is_floating_point():
        raise ValueError(f"boxes must be floating point (N, 4); got {boxes.dtype} {tuple(boxes.shape)}")
    if labels.is_floating_point() or labels.shape != boxes.shape[:1]:
        raise ValueError(f"labels must be whole numbers ({len(boxes)},); got {labels.dtype} {tuple(labels.shape)}")
    if masks.shape != (len(boxes), *size):
        raise ValueError(f"masks must be {(len(boxes), *size)} as boxes and image are; got {tuple(masks.shape)}")
    if not len(boxes):
        return
    empty = ~(boxes[:, 2:] > boxes[:, :2]).all(1)
    if empty.any():
        raise ValueError(
            f"boxes must have a width and a height; got {boxes[empty][0].tolist()}: remove instances without area"
        )
    height, width = size
    if boxes.min() < 0 or boxes[:, 2].max() > width or boxes[:, 3].max() > height:
        raise ValueError(f"boxes must lie in the image of {height}x{width}; got {boxes.tolist()[:3]}: clip them")
    if not 1 <= labels.min() <= labels.max() < num_classes:
        wrong = labels[(labels < 1) | (labels >= num_classes)][0].item()
        raise ValueError(f"labels must be 1 .. {num_classes - 1}, 0 is the background; got {wrong}")
