"""Joint transforms of an item for training: image, labels, depth and instances are transformed alike.

Built on torchvision.transforms.v2, which treats a value by its type. A ``tv_tensors.Image`` is interpolated; a
``tv_tensors.Mask``, be it labels, depth or instance masks, never is, so values do not mix across an edge. Boxes
follow, and instances that leave the image are removed from the item.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

import torch
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as F

from .base import Sample
from .instances import masks_to_boxes

# Draws of a crop that no class fills, before the last is taken.
TRIES = 10

# Entries with one row for each instance.
_INSTANCE_KEYS = ("boxes", "labels", "masks", "iscrowd")


class RandomScaleCrop:
    """Scaling by a factor drawn uniformly from ``scale`` and a crop of ``size`` anywhere, padded with ignored labels.

    The crop comes first: a crop of an enlarged image is an enlarged smaller piece of the original.
    "depth" is divided by the factor: a scene that appears twice as large is half as far.

    Args:
        size: side of the crop, or (height, width).
        scale: range of the factor.
        ignore_index: label of pixels outside the image, where the crop is larger.
        fill: color of these pixels.
        cat_max_ratio: draw the position again, up to ``TRIES`` times, while one class has at least this share of the
            labeled pixels. 1: take the first position.
    """

    def __init__(
        self,
        size: int | tuple[int, int],
        scale: tuple[float, float] = (0.5, 2.0),
        ignore_index: int = 255,
        fill: Sequence[int] = (0, 0, 0),
        cat_max_ratio: float = 1.0,
    ):
        self.size = (size, size) if isinstance(size, int) else tuple(size)
        self.scale, self.fill, self.cat_max_ratio = scale, list(fill), cat_max_ratio
        self.mask_fill = _mask_fill(ignore_index)

    def __call__(self, sample: Sample) -> Sample:
        """Scale and crop an item."""
        factor = random.uniform(*self.scale)
        sides = sample["image"].shape[-2:]
        # The piece of the original that becomes the crop, no larger than the original itself.
        piece = [min(side, max(1, round(part / factor))) for side, part in zip(sides, self.size)]
        top, left = self._draw_position(sample, sides, piece)
        target = [min(part, max(1, round(cut * factor))) for part, cut in zip(self.size, piece)]
        rows, columns = (part - side for part, side in zip(self.size, target))
        padding = None
        if rows or columns:
            above, before = random.randint(0, rows), random.randint(0, columns)
            padding = [before, above, columns - before, rows - above]
        out = {}
        for key, value in sample.items():
            if isinstance(value, tv_tensors.Mask):
                value = resized(F.crop(value, top, left, *piece), target)
            elif isinstance(value, tv_tensors.TVTensor):
                value = F.resized_crop(value, top, left, *piece, target, antialias=True)
            if padding and isinstance(value, tv_tensors.TVTensor):
                is_image = isinstance(value, tv_tensors.Image)
                fill = fill_of(self.fill, value) if is_image else self.mask_fill.get(key, 0)
                value = F.pad(value, padding, fill=fill)
            out[key] = value
        if "depth" in out:
            out["depth"] = tv_tensors.wrap(out["depth"] / factor, like=out["depth"])
        return sanitize_instances(out)

    def _draw_position(self, sample: Sample, sides: Sequence[int], piece: Sequence[int]) -> tuple[int, int]:
        """Draw the top left corner of a piece, again while one class fills it."""
        for _ in range(TRIES):
            top, left = (random.randint(0, side - part) for side, part in zip(sides, piece))
            if self.cat_max_ratio >= 1 or "mask" not in sample:
                break
            labels = F.crop(sample["mask"], top, left, *piece).as_subclass(Tensor)
            counts = labels[labels != self.mask_fill["mask"]].bincount(minlength=1)
            if counts.max() < self.cat_max_ratio * counts.sum():
                break
        return top, left


class RandomRotate:
    """Rotation about the center by an angle drawn uniformly from -degrees .. degrees, at the same size.

    Args:
        degrees: largest angle.
        ignore_index: label of the pixels outside the image, in the corners.
        fill: color of these pixels.
    """

    def __init__(self, degrees: float, ignore_index: int = 255, fill: Sequence[int] = (0, 0, 0)):
        self.degrees, self.fill, self.mask_fill = degrees, list(fill), _mask_fill(ignore_index)

    def __call__(self, sample: Sample) -> Sample:
        """Rotate an item."""
        angle = random.uniform(-self.degrees, self.degrees)
        out = {}
        for key, value in sample.items():
            if isinstance(value, tv_tensors.Image):
                value = F.rotate(
                    value, angle, interpolation=F.InterpolationMode.BILINEAR, fill=fill_of(self.fill, value)
                )
            elif isinstance(value, tv_tensors.TVTensor) and value.numel():
                value = F.rotate(value, angle, fill=self.mask_fill.get(key, 0))
            out[key] = value
        return sanitize_instances(out)


class ColorJitter:
    """Jitter of brightness, contrast and saturation, each by a factor drawn from 1 - strength .. 1 + strength.

    Images of other than one or three channels have no saturation, and the contrast of each channel is changed about
    its own mean.

    Args:
        strength: of the jitter, at least 0.
    """

    def __init__(self, strength: float):
        self.jitter = v2.ColorJitter(brightness=strength, contrast=strength, saturation=strength)

    def __call__(self, sample: Sample) -> Sample:
        """Change the colors of an item's image, uint8 or float in 0 .. 255."""
        image = sample["image"]
        values = image.as_subclass(Tensor)
        if is_float := values.is_floating_point():
            values = values / 255  # torchvision takes floats in 0 .. 1
        values = self.jitter(values) if len(values) in (1, 3) else self.jitter(values[:, None])[:, 0]
        return sample | {"image": tv_tensors.wrap(values * 255 if is_float else values, like=image)}


def fill_of(color: Sequence[int], image: Tensor) -> list[int]:
    """Return a color with as many values as an image has channels: if it has others, their mean, as in Normalize."""
    return list(color) if len(color) == len(image) else [round(sum(color) / len(color))] * len(image)


def _mask_fill(ignore_index: int) -> dict[str, float]:
    """Return the values of masks outside the image, by name; others are filled with 0."""
    return {"mask": ignore_index, "depth": math.nan}


def resized(value: Tensor, size: Sequence[int]) -> Tensor:
    """Resize an entry of an item: images antialiased, masks by the nearest pixel; other entries are unchanged."""
    if not isinstance(value, tv_tensors.Mask):
        return F.resize(value, list(size), antialias=True) if isinstance(value, tv_tensors.TVTensor) else value
    # As a plain tensor: for a Mask torchvision insists on "nearest", which is half a pixel off.
    plain = value.as_subclass(Tensor)
    stack = plain.reshape(-1, *plain.shape[-2:])
    if stack.dtype == torch.bool:
        stack = stack.to(torch.uint8)
    if len(stack):
        stack = F.resize(stack, list(size), interpolation=F.InterpolationMode.NEAREST_EXACT)
    else:
        stack = stack.new_zeros(0, *size)
    return tv_tensors.wrap(stack.to(plain.dtype).reshape(*plain.shape[:-2], *size), like=value)


def sanitize_instances(sample: Sample) -> Sample:
    """Clip boxes at the image's edge and remove the instances that are no longer visible.

    With masks, a box becomes that of the visible part of its mask; without, an instance is removed if its box is less
    than a pixel wide or high.
    """
    if "boxes" not in sample:
        return sample
    boxes = sample["boxes"]
    if "masks" in sample:
        kept = sample["masks"].as_subclass(Tensor).flatten(1).any(1)
        boxes = tv_tensors.wrap(masks_to_boxes(sample["masks"]), like=boxes)
    else:
        boxes = F.clamp_bounding_boxes(boxes)
        corners = boxes.as_subclass(Tensor)
        kept = (corners[:, 2:] - corners[:, :2] >= 1).all(1)
    sample = sample | {"boxes": boxes}
    for key in _INSTANCE_KEYS:
        if key in sample:
            sample[key] = tv_tensors.wrap(sample[key].as_subclass(Tensor)[kept], like=sample[key])
    return sample


def train_transform(
    size: int | tuple[int, int] | None,
    scale: tuple[float, float],
    ignore_index: int,
    mean: tuple[float, ...],
    *,
    rotate: float = 0.0,
    cat_max_ratio: float = 1.0,
    hflip: float = 0.5,
    color_jitter: float = 0.3,
) -> v2.Compose:
    """Make a transform of random rotation, scale and crop (filled with the mean color), flip and color jitter.

    Args:
        size: side of the crop, or (height, width); None: whole images, at their own scale.
        scale: range of the scale.
        ignore_index: label of pixels outside the image.
        mean: color of pixels outside the image, in 0 .. 1.
        rotate: largest angle of rotation, in degrees; 0: no rotation.
        cat_max_ratio: see :class:`RandomScaleCrop`.
        hflip: probability of a horizontal flip.
        color_jitter: strength of the jitter of brightness, contrast and saturation.

    Returns:
        Transform item -> item.
    """
    fill = [round(255 * value) for value in mean]
    return v2.Compose(
        [
            *([RandomRotate(rotate, ignore_index, fill)] if rotate else []),
            *([RandomScaleCrop(size, scale, ignore_index, fill, cat_max_ratio)] if size else []),
            v2.RandomHorizontalFlip(hflip),
            ColorJitter(color_jitter),
        ]
    )
