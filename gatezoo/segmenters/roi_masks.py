"""Instance masks at the network's small resolution, each within its box, drawn at image size on demand."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from torchvision.models.detection.roi_heads import (
    expand_boxes,
    expand_masks,
    paste_mask_in_image,
    paste_masks_in_image,
)


class RoIMasks:
    """Masks that are indexed like torchvision's probabilities (N, 1, H, W), but hold only (N, 1, m, m).

    ``masks[i]``, a slice or a list of numbers draws those alone, ``masks >= 0.5`` all of them as bool, ``dense()`` all
    as probabilities, ``drawn()`` and ``windows()`` one after the other: a hundred instances of a large image are
    gigabytes at once.

    Attributes:
        rois: probabilities (N, 1, m, m), each spread over its box.
        boxes: (N, 4), x1 y1 x2 y2 in pixels of the image.
        size: (H, W).
    """

    def __init__(self, rois: Tensor, boxes: Tensor, size: Sequence[int]):
        height, width = size
        self.rois, self.boxes, self.size = rois, boxes, (height, width)

    def __len__(self) -> int:
        return len(self.rois)

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(N, 1, H, W), the shape of the masks once drawn."""
        return len(self), 1, self.size[0], self.size[1]

    def __getitem__(self, index: int | slice | list[int] | Tensor) -> Tensor:
        if isinstance(index, int):
            if not -len(self) <= index < len(self):
                raise IndexError(f"masks are numbered 0 .. {len(self) - 1}; got {index}")
            return self[index : index + 1 or None][0]
        return paste_masks_in_image(self.rois[index], self.boxes[index], self.size)

    def __ge__(self, threshold: float) -> Tensor:
        drawn = torch.empty(self.shape, dtype=torch.bool, device=self.rois.device)
        for number, mask in enumerate(self.drawn(threshold)):
            drawn[number, 0] = mask
        return drawn

    def windows(self, threshold: float = 0.5) -> Iterator[tuple[int, int, Tensor]]:
        """Yield (top, left, bool (h, w)) of each mask: the part of the image outside of which it is false."""
        height, width = self.size
        rois, scale = expand_masks(self.rois, padding=1)
        for roi, box in zip(rois[:, 0], expand_boxes(self.boxes, scale).to(torch.int64)):
            left, top = (max(0, side) for side in box[:2].tolist())
            right, bottom = (max(0, side + 1) for side in box[2:].tolist())
            shifted = box - torch.tensor([left, top, left, top], device=box.device)
            drawn = paste_mask_in_image(roi, shifted, min(bottom, height) - top, min(right, width) - left)
            yield top, left, drawn >= threshold

    def drawn(self, threshold: float = 0.5) -> Iterator[Tensor]:
        """Yield each mask as bool (H, W), true where it is at least the threshold."""
        for top, left, part in self.windows(threshold):
            whole = part.new_zeros(self.size)
            whole[top : top + part.shape[0], left : left + part.shape[1]] = part
            yield whole

    def dense(self) -> Tensor:
        """Return all masks as probabilities (N, 1, H, W), as torchvision's networks do."""
        return self[:]

    def cpu(self) -> RoIMasks:
        """Return the masks on the CPU."""
        return RoIMasks(self.rois.cpu(), self.boxes.cpu(), self.size)
