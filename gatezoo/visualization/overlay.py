"""Overlays of class colors and highlights on images."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image
from torchvision.utils import draw_segmentation_masks

from ..utils.palette import Palette

HIGHLIGHT_COLOR = (255, 0, 90)
_MAX_PIXELS = 1 << 20  # of a band that is drawn at once


def overlay(image: torch.Tensor, classes: np.ndarray, palette: Palette, alpha: float = 0.55) -> Image.Image:
    """Draw the colors of a label map over an image.

    Args:
        image: uint8 (3, H, W).
        classes: label map, (H, W).
        palette: color of each class.
        alpha: opacity of the colors; 1 hides the image.
    """
    rows = max(1, _MAX_PIXELS // classes.shape[1])  # one mask per class: those of a large image do not fit into memory
    drawn = np.empty((*classes.shape, 3), np.uint8)
    colors: list[str | tuple[int, int, int]] = [(red, green, blue) for red, green, blue in palette]
    for top in range(0, len(classes), rows):
        part = classes[top : top + rows]
        masks = torch.from_numpy(part == np.arange(len(palette))[:, None, None])
        band = draw_segmentation_masks(image[:, top : top + rows], masks, alpha=alpha, colors=colors)
        drawn[top : top + rows] = band.permute(1, 2, 0).numpy()
    return Image.fromarray(drawn)


def fade(image: Image.Image) -> Image.Image:
    """Return an image in pale gray, as a background for highlights."""
    return Image.blend(image.convert("L").convert("RGB"), Image.new("RGB", image.size, "white"), 0.5)


def highlight(image: Image.Image, mask: np.ndarray) -> Image.Image:
    """Return a copy of an image with the pixels of a mask (H, W) of bool in a bright color."""
    highlighted = image.copy()
    highlighted.paste(HIGHLIGHT_COLOR, mask=Image.fromarray(mask))
    return highlighted
