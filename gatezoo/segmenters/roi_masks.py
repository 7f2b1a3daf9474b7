"""Masks of objects as networks find them: small, each within its box, drawn into the image when asked for."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torchvision.models.detection.roi_heads import (
    expand_boxes,
    expand_masks,
    paste_mask_in_image,
    paste_masks_in_image,
)


class RoIMasks:
    """Masks that read as torchvision's (N, 1, H, W) of probabilities, and hold (N, 1, m, m).

    ``masks[i]``, a slice or a list of numbers draws those alone, ``masks >= 0.5`` all of them as bool, ``dense()`` all
    as they are, ``drawn()`` and ``windows()`` one after the other: a hundred objects of a large image are gigabytes
    at once.

    Attributes:
        rois: probabilities (N, 1, m, m), each spread over its box.
        boxes: (N, 4), x1 y1 x2 y2 in pixels of the image.
        size: (H, W).
    """

    def __init__(self, rois: Tensor, boxes: Tensor, size: tuple[int, int]):
        self.rois, self.boxes, self.size = rois, boxes, tuple(size)

    def __len__(self) -> int:
        return len(self.rois)

    @property
    def shape(self) -> tuple[int, int, int, int]:
        return (len(self), 1, *self.size)

    def __getitem__(self, which: int | slice | list[int] | Tensor) -> Tensor:
        if isinstance(which, int):
            return self[which : which + 1 or None][0] if -len(self) <= which < len(self) else self._outside(which)
        return paste_masks_in_image(self.rois[which], self.boxes[which], self.size)

    def __ge__(self, threshold: float) -> Tensor:
        drawn = torch.empty(self.shape, dtype=torch.bool, device=self.rois.device)
        for number, mask in enumerate(self.drawn(threshold)):
            drawn[number, 0] = mask
        return drawn

    def windows(self, threshold: float = 0.5) -> Iterator[tuple[int, int, Tensor]]:
        """Of each mask (top, left, bool (h, w)): the part of the image outside of which it is false."""
        height, width = self.size
        rois, scale = expand_masks(self.rois, padding=1)
        for roi, box in zip(rois[:, 0], expand_boxes(self.boxes, scale).to(torch.int64)):
            left, top = (max(0, side) for side in box[:2].tolist())
            right, bottom = (max(0, side + 1) for side in box[2:].tolist())
            shifted = box - torch.tensor([left, top, left, top], device=box.device)
            drawn = paste_mask_in_image(roi, shifted, min(bottom, height) - top, min(right, width) - left)
            yield top, left, drawn >= threshold

    def drawn(self, threshold: float = 0.5) -> Iterator[Tensor]:
        """Each mask as bool (H, W), where it is at least the threshold."""
        for top, left, part in self.windows(threshold):
            whole = part.new_zeros(self.size)
            whole[top : top + part.shape[0], left : left + part.shape[1]] = part
            yield whole

    def dense(self) -> Tensor:
        """All masks, (N, 1, H, W) of float, as torchvision's networks give them."""
        return self[:]

    def select(self, which: Tensor) -> RoIMasks:
        """Some of them, still small."""
        return RoIMasks(self.rois[which], self.boxes[which], self.size)

    def cpu(self) -> RoIMasks:
        return RoIMasks(self.rois.cpu(), self.boxes.cpu(), self.size)

    def _outside(self, which: int) -> Tensor:
        raise IndexError(f"masks are numbered 0 .. {len(self) - 1}; got {which}")
