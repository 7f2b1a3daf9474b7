"""Images of any kind and maps of numbers, such as confidence, as they are shown."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from ..utils.palette import Palette

if TYPE_CHECKING:
    import torch

# From low to high, dark to light, so that the order is kept in gray.
_COLORS = ((36, 8, 60), (92, 24, 110), (164, 44, 96), (224, 92, 56), (250, 168, 60), (252, 240, 168))


def displayable(image: torch.Tensor | np.ndarray) -> np.ndarray:
    """Convert an image (C, H, W), values in 0 .. 255, to uint8 (H, W, 3): its first three bands, or one as gray."""
    values = np.asarray(image)
    bands = values[:3] if len(values) >= 3 else np.broadcast_to(values[:1], (3, *values.shape[1:]))
    if bands.dtype != np.uint8:  # one by one, for the memory
        bands = np.stack([band.round().clip(0, 255).astype(np.uint8) for band in bands])
    return bands.transpose(1, 2, 0)


def to_pil(image: torch.Tensor | np.ndarray) -> Image.Image:
    """Convert an image (C, H, W), values in 0 .. 255, to an RGB image."""
    return Image.fromarray(displayable(image))


def index_image(classes: np.ndarray, palette: Palette) -> Image.Image:
    """Convert a label map (H, W) to a palette image of class indices (16-bit gray for more than 256 classes)."""
    if classes.dtype != np.uint8:
        return Image.fromarray(classes.astype(np.uint16))
    image = Image.fromarray(classes)
    image.putpalette([value for color in palette for value in color])
    return image


def confidence_image(confidence: np.ndarray) -> Image.Image:
    """Convert confidence or instability (H, W) in 0 .. 1 to a 16-bit image of round(65535 * confidence)."""
    return Image.fromarray((65535 * confidence).round().clip(0, 65535).astype(np.uint16))


def colorize(values: np.ndarray, low: float = 0.0, high: float = 1.0) -> Image.Image:
    """Convert values (H, W) to colors, from dark for ``low`` and below to light for ``high`` and above."""
    shares = (values - low) / max(high - low, 1e-12)
    image = Image.fromarray((255 * shares.clip(0, 1)).round().astype(np.uint8))
    steps = np.linspace(0, len(_COLORS) - 1, 256)
    channels = [np.interp(steps, range(len(_COLORS)), channel).round() for channel in zip(*_COLORS)]
    image.putpalette(np.stack(channels, -1).astype(np.uint8).tobytes())
    return image.convert("RGB")
