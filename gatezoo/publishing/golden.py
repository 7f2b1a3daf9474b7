"""Golden logits: a fixed image and what a network answers to it."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from ..segmenters.base import BaseSegmenter

GOLDEN = "golden.safetensors"


# Height and width of the fixed image: odd, and no multiple of any stride.
GOLDEN_SIZE = (65, 97)


# In half precision logits may be off by this share of their spread; else by rounding alone.
FP16_TOLERANCE, FP32_TOLERANCE = 0.02, 1e-5


def golden_image(channels: int) -> Tensor:
    """A fixed image (1, channels, 65, 97) of values within 2, the same on every machine: no random numbers."""
    height, width = GOLDEN_SIZE
    y, x = torch.arange(height)[:, None], torch.arange(width)[None]
    waves = [((y * (3 + k) + x * (5 + 2 * k)) % (17 + k) / (8 + k / 2) - 1) for k in range(channels)]
    return (2 * torch.stack(waves)).unsqueeze(0)


@torch.no_grad()
def golden_logits(model: BaseSegmenter) -> Tensor:
    """Logits of the fixed image, in evaluation mode: (1, K, 65, 97), or whatever :meth:`Network.probe` gives.

    The network's mode is as before.
    """
    mode = model.training
    try:
        return model.eval().raw_outputs(golden_image(model.in_chans)).contiguous()
    finally:
        model.train(mode)


def logit_error(expected: Tensor, found: Tensor) -> float:
    return float((expected - found).abs().max() / expected.std().clamp_min(1e-12))


def check_golden(model: BaseSegmenter, path: Path) -> None:
    held = load_file(path)
    with torch.no_grad():
        off = logit_error(held["logits"], model.eval().raw_outputs(held["image"]))
    if off > FP32_TOLERANCE:
        raise ValueError(f"a network read back must give the golden logits; these are off by {off:.2g}")
