"""Joint transforms of an item for training: image, labels, depth and objects stay together.

On torchvision.transforms.v2: what a value of the item is, its type says. A ``tv_tensors.Image`` is interpolated; a
``tv_tensors.Mask`` never is, be it labels, depth or the masks of objects: its values are not mixed over an edge. Boxes
follow, and objects that have left the image leave the item.
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

# Draws of a crop that avoids one class filling it, before the last is taken.
TRIES = 10

# Of an object: one row each.
_OF_OBJECTS = ("boxes", "labels", "masks")


class RandomScaleCrop:
    """Scale by a factor drawn evenly from ``scale``, then crop ``size`` anywhere; labels pad as ignored.

    Cut out of the small image first: the crop of a image scaled up is a smaller piece of the original.
    "depth" is divided by the factor: what is shown twice as large is half as far.

    Args:
        size: side of the crop, or (height, width).
        scale: range of the factor.
        ignore_index: of the labels where the crop is larger than the image.
        fill: colour of the image there.
        cat_max_ratio: draw the place again, up to ``TRIES`` times, while one class has at least this share of the
            labelled pixels. 1: the first place is taken.
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
        self.outside = _outside(ignore_index)

    def __call__(self, sample: Sample) -> Sample:
        factor = random.uniform(*self.scale)
        sides = sample["image"].shape[-2:]
        # The piece of the original that becomes the crop, no larger than the original itself.
        piece = [min(side, max(1, round(part / factor))) for side, part in zip(sides, self.size)]
        top, left = self._place(sample, sides, piece)
        target = [min(part, max(1, round(cut * factor))) for part, cut in zip(self.size, piece)]
        below, right = (part - side for part, side in zip(self.size, target))
        edges = None
        if below or right:
            up, before = random.randint(0, below), random.randint(0, right)
            edges = [before, up, right - before, below - up]
        out = {}
        for key, value in sample.items():
            if isinstance(value, tv_tensors.Mask):
                value = resized(F.crop(value, top, left, *piece), target)
            elif isinstance(value, tv_tensors.TVTensor):
                value = F.resized_crop(value, top, left, *piece, target, antialias=True)
            if edges and isinstance(value, tv_tensors.TVTensor):
                fill = self.fill if isinstance(value, tv_tensors.Image) else self.outside.get(key, 0)
                value = F.pad(value, edges, fill=fill)
            out[key] = value
        if "depth" in out:
            out["depth"] = tv_tensors.wrap(out["depth"] / factor, like=out["depth"])
        return sanitize_instances(out)

    def _place(self, sample: Sample, sides: Sequence[int], piece: Sequence[int]) -> tuple[int, int]:
        for _ in range(TRIES):
            top, left = (random.randint(0, side - part) for side, part in zip(sides, piece))
            if self.cat_max_ratio >= 1 or "mask" not in sample:
                break
            labels = F.crop(sample["mask"], top, left, *piece).as_subclass(Tensor)
            counts = labels[labels != self.outside["mask"]].bincount(minlength=1)
            if counts.max() < self.cat_max_ratio * counts.sum():
                break
        return top, left


class RandomRotate:
    """Rotate about the centre by an angle drawn evenly from -degrees .. degrees; the size stays, corners are filled.

    Args:
        degrees: largest angle.
        ignore_index: of the labels in the corners.
        fill: colour of the image there.
    """

    def __init__(self, degrees: float, ignore_index: int = 255, fill: Sequence[int] = (0, 0, 0)):
        self.degrees, self.fill, self.outside = degrees, list(fill), _outside(ignore_index)

    def __call__(self, sample: Sample) -> Sample:
        angle = random.uniform(-self.degrees, self.degrees)
        out = {}
        for key, value in sample.items():
            if isinstance(value, tv_tensors.Image):
                value = F.rotate(value, angle, interpolation=F.InterpolationMode.BILINEAR, fill=self.fill)
            elif isinstance(value, tv_tensors.TVTensor) and value.numel():
                value = F.rotate(value, angle, fill=self.outside.get(key, 0))
            out[key] = value
        return sanitize_instances(out)


def _outside(ignore_index: int) -> dict[str, float]:
    """What masks hold where there is no image; 0 for those not named."""
    return {"mask": ignore_index, "depth": math.nan}


def resized(value: Tensor, size: Sequence[int]) -> Tensor:
    """An entry of an item at another size: images smoothly, masks by the nearest pixel; what is no map stays."""
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
    """Boxes cut at the image's edge, and the objects gone of which nothing is left.

    With masks a box is that of what the mask still shows; without them an object goes when its box has less than a
    pixel's width or height.
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
    for key in _OF_OBJECTS:
        if key in sample:
            sample[key] = tv_tensors.wrap(sample[key].as_subclass(Tensor)[kept], like=sample[key])
    return sample


def train_transform(
    size: int | tuple[int, int],
    scale: tuple[float, float],
    ignore_index: int,
    mean: tuple[float, ...],
    *,
    rotate: float = 0.0,
    cat_max_ratio: float = 1.0,
    hflip: float = 0.5,
    color_jitter: float = 0.3,
    hue: float = 0.0,
) -> v2.Compose:
    """Random rotation, scale and crop (filled with the mean colour), flip, colour jitter: item -> item.

    Args:
        size: side of the crop, or (height, width).
        scale: range of the scale.
        ignore_index: of the labels outside the image.
        mean: colour in 0 .. 1 outside the image.
        rotate: largest angle of a rotation, in degrees; 0 for none.
        cat_max_ratio: of :class:`RandomScaleCrop`.
        hflip: probability of a flip from left to right.
        color_jitter: strength of that of brightness, contrast and saturation.
        hue: largest turn of the hue, in 0 .. 0.5.
    """
    fill = [round(255 * value) for value in mean]
    return v2.Compose(
        [
            *([RandomRotate(rotate, ignore_index, fill)] if rotate else []),
            RandomScaleCrop(size, scale, ignore_index, fill, cat_max_ratio),
            v2.RandomHorizontalFlip(hflip),
            v2.ColorJitter(brightness=color_jitter, contrast=color_jitter, saturation=color_jitter, hue=hue),
        ]
    )
