"""Between images and the numbers that networks read."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class Normalize(nn.Module):
    """uint8 (B, C, H, W) in 0 .. 255 -> float (x / 255 - mean) / std, on whatever device the batch is.

    A mean and std of other length than C are those of colour images: their average is used for every channel.
    """

    def __init__(self, mean: Sequence[float], std: Sequence[float], in_chans: int = 3):
        super().__init__()
        if len(mean) != in_chans:
            mean, std = [sum(mean) / len(mean)] * in_chans, [sum(std) / len(std)] * in_chans
        self.register_buffer("scale", 1 / (255 * torch.tensor(std).view(-1, 1, 1)), persistent=False)
        self.register_buffer(
            "shift", -torch.tensor(mean).view(-1, 1, 1) / torch.tensor(std).view(-1, 1, 1), persistent=False
        )

    def forward(self, image: Tensor) -> Tensor:
        return image * self.scale + self.shift
