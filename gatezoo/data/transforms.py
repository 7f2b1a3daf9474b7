"""Joint transforms of picture and labels for training, on torchvision.transforms.v2."""

from __future__ import annotations

import random

import torch
from torchvision import tv_tensors
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as F


class RandomScaleCrop:
    """Scale by a factor drawn evenly from ``scale``, then crop ``size`` x ``size`` anywhere; labels pad as ignored.

    Cut out of the small picture first: the crop of a picture scaled up is a smaller piece of the original.
    """

    def __init__(self, size: int, scale: tuple[float, float] = (0.5, 2.0), ignore_index: int = 255, fill=(0, 0, 0)):
        self.size, self.scale, self.ignore_index, self.fill = size, scale, ignore_index, list(fill)

    def __call__(self, image: torch.Tensor, labels: torch.Tensor):
        factor = random.uniform(*self.scale)
        height, width = image.shape[-2:]
        # The piece of the original that becomes the crop, no larger than the original itself.
        piece = [min(side, max(1, round(self.size / factor))) for side in (height, width)]
        top, left = (random.randint(0, side - part) for side, part in zip((height, width), piece))
        target = [min(self.size, max(1, round(part * factor))) for part in piece]
        image = F.resized_crop(image, top, left, *piece, target, antialias=True)
        # As a plain tensor: for a Mask torchvision insists on "nearest", which is half a pixel off.
        plain = labels.as_subclass(torch.Tensor)[None]
        plain = F.resized_crop(plain, top, left, *piece, target, interpolation=F.InterpolationMode.NEAREST_EXACT)
        labels = tv_tensors.wrap(plain[0], like=labels)
        below, right = self.size - target[0], self.size - target[1]
        if below or right:
            up, before = random.randint(0, below), random.randint(0, right)
            edges = [before, up, right - before, below - up]
            image = F.pad(image, edges, fill=self.fill)
            labels = F.pad(labels, edges, fill=self.ignore_index)
        return image, labels


def train_transform(size: int, scale: tuple[float, float], ignore_index: int, mean: tuple[float, ...]) -> v2.Compose:
    """Random scale and crop (padded with the mean colour), flip, colour jitter."""
    fill = [round(255 * value) for value in mean]
    return v2.Compose(
        [
            RandomScaleCrop(size, scale, ignore_index, fill),
            v2.RandomHorizontalFlip(),
            v2.ColorJitter(brightness=0.3, contrast=0.3, saturation=0.3),
        ]
    )
