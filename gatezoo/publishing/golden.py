"""Golden logits: a fixed image and the logits that a network gives for it."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from ..segmenters.base import BaseSegmenter

GOLDEN = "golden.safetensors"
# Height and width of the fixed image: odd, and no multiple of any stride.
GOLDEN_SIZE = (65, 97)
# Largest error of logits as a share of their standard deviation: weights in half precision, and rounding alone.
FP16_TOLERANCE, FP32_TOLERANCE = 0.02, 1e-5


def golden_image(channels: int) -> Tensor:
    """Return a fixed image (1, channels, 65, 97) with values in [-2, 2].

    It is computed without random numbers, so that it is the same on every machine.
    """
    height, width = GOLDEN_SIZE
    y, x = torch.arange(height)[:, None], torch.arange(width)[None]
    waves = [((y * (3 + k) + x * (5 + 2 * k)) % (17 + k) / (8 + k / 2) - 1) for k in range(channels)]
    return (2 * torch.stack(waves)).unsqueeze(0)


@torch.no_grad()
def golden_logits(model: BaseSegmenter) -> Tensor:
    """Return the ``raw_outputs`` of the network for the fixed image: (1, K, 65, 97) for semantic segmentation.

    They are computed in evaluation mode; the mode of the network is restored.
    """
    mode = model.training
    try:
        return model.eval().raw_outputs(golden_image(model.in_chans)).contiguous()
    finally:
        model.train(mode)


def logit_error(expected: Tensor, actual: Tensor) -> float:
    """Return the largest absolute difference as a share of the standard deviation of ``expected``."""
    return float((expected - actual).abs().max() / expected.std().clamp_min(1e-12))


def check_golden(model: BaseSegmenter, path: Path) -> None:
    """Raise ValueError unless the network gives the golden logits of a file."""
    golden = load_file(path)
    with torch.no_grad():
        error = logit_error(golden["logits"], model.eval().raw_outputs(golden["image"]))
    if error > FP32_TOLERANCE:
        raise ValueError(
            f"a downloaded network must give the golden logits; their error is {error:.2g} of their spread: "
            "publish it again"
        )
