"""Corruptions of images, to evaluate how a network degrades: noise, blur, contrast, brightness, compression."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass

import torch
from PIL import Image
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms.v2 import functional as F

from ..utils.choices import check_choice
from .base import Sample


def _noise(image: Tensor, sigma: float) -> Tensor:
    # The same noise at every reading of an image, in any process.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(image.long().sum()))
        return F.gaussian_noise(image.float() / 255, sigma=sigma) * 255


def _blur(image: Tensor, sigma: float) -> Tensor:
    size = 2 * round(3 * sigma) + 1
    return F.gaussian_blur(image, [size, size], [sigma, sigma])


def _jpeg(image: Tensor, quality: float) -> Tensor:
    compressed = io.BytesIO()
    F.to_pil_image(image).save(compressed, "JPEG", quality=int(quality))
    return F.pil_to_tensor(Image.open(compressed))


# By name: function of (image uint8 (C, H, W), strength), and the strength of each severity.
CORRUPTIONS: dict[str, tuple[Callable[[Tensor, float], Tensor], tuple[float, float, float]]] = {
    "noise": (_noise, (0.04, 0.08, 0.16)),  # standard deviation; 1 is full brightness
    "blur": (_blur, (1.0, 2.0, 4.0)),  # standard deviation in pixels
    "contrast": (F.adjust_contrast, (0.6, 0.4, 0.2)),  # factor of the difference to the image's mean gray
    "brightness": (F.adjust_brightness, (1.3, 1.6, 2.0)),  # factor of all values
    "jpeg": (_jpeg, (30, 15, 7)),  # quality
}
SEVERITIES = (1, 2, 3)


@dataclass(frozen=True)
class Corruption:
    """Transform of a sample that corrupts its image, by torchvision's and Pillow's functions; labels stay as they are.

    The result is uint8. Noise depends on the image alone.

    Args:
        name: a key of ``CORRUPTIONS``.
        severity: 1, 2 or 3.

    Raises:
        ValueError: an unknown name or severity; on a sample, an image of 16 bits, or one without 1 or 3 channels.
    """

    name: str
    severity: int

    def __post_init__(self) -> None:
        check_choice("corruption", self.name, CORRUPTIONS)
        if self.severity not in SEVERITIES:
            raise ValueError(f"severity must be 1, 2 or 3; got {self.severity}: 2 is in the middle")

    def __call__(self, sample: Sample) -> Sample:
        image = sample["image"]
        if image.dtype != torch.uint8 or image.shape[0] not in (1, 3):
            raise ValueError(
                f"images to corrupt must have 8 bits and 1 or 3 channels; got {image.dtype} {tuple(image.shape)}: "
                "evaluate without corruptions"
            )
        change, strengths = CORRUPTIONS[self.name]
        changed = change(image.as_subclass(Tensor), strengths[self.severity - 1])
        if changed.dtype != torch.uint8:
            changed = changed.round().clamp(0, 255).byte()
        return {**sample, "image": tv_tensors.Image(changed)}
