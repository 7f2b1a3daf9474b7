"""Convert uint8 images to normalized network inputs."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


def channel_stats(
    mean: Sequence[float], std: Sequence[float], in_chans: int
) -> tuple[Sequence[float], Sequence[float]]:
    """Return the mean and std of each channel: as given, or their average for every channel if the number differs."""
    if len(mean) == in_chans:
        return mean, std
    return [sum(mean) / len(mean)] * in_chans, [sum(std) / len(std)] * in_chans


class Normalize(nn.Module):
    """Normalization of uint8 images (B, C, H, W) in 0 .. 255 to float (x / 255 - mean) / std, on the batch's device.

    A mean and std whose length is not C are taken to be those of color images: every channel uses their average.

    Args:
        mean, std: per channel, of images in 0 .. 1.
        in_chans: C.
    """

    scale: Tensor
    shift: Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float], in_chans: int = 3):
        super().__init__()
        mean, std = channel_stats(mean, std, in_chans)
        self.register_buffer("scale", 1 / (255 * torch.tensor(std).view(-1, 1, 1)), persistent=False)
        self.register_buffer(
            "shift", -torch.tensor(mean).view(-1, 1, 1) / torch.tensor(std).view(-1, 1, 1), persistent=False
        )

    def forward(self, image: Tensor) -> Tensor:
        return image * self.scale + self.shift
