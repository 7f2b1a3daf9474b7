"""Class colors laid over images."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image
from torchvision.utils import draw_segmentation_masks

from ..utils.palette import Palette

_CHANGED = (255, 0, 90)
_AT_ONCE = 1 << 20  # pixels of an overlay


def overlay(image: torch.Tensor, classes: np.ndarray, palette: Palette, alpha: float = 0.55) -> Image.Image:
    """The classes' colours over the image, uint8 (3, H, W); alpha 1 hides it."""
    rows = max(1, _AT_ONCE // classes.shape[1])  # a mask for each class: of a large image they do not fit into memory
    drawn = np.empty((*classes.shape, 3), np.uint8)
    for top in range(0, len(classes), rows):
        part = classes[top : top + rows]
        masks = torch.from_numpy(part == np.arange(len(palette))[:, None, None])
        band = draw_segmentation_masks(
            image[:, top : top + rows], masks, alpha=alpha, colors=[tuple(colour) for colour in palette]
        )
        drawn[top : top + rows] = band.permute(1, 2, 0).numpy()
    return Image.fromarray(drawn)


def fade(image: Image.Image) -> Image.Image:
    """A image in pale grey, to mark something on."""
    return Image.blend(image.convert("L").convert("RGB"), Image.new("RGB", image.size, "white"), 0.5)


def highlight(image: Image.Image, changed: np.ndarray) -> Image.Image:
    """The image with pixels (H, W) of bool in a loud colour."""
    marked = image.copy()
    marked.paste(_CHANGED, mask=Image.fromarray(changed))
    return marked
