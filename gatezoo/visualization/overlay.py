"""Overlays of class colors and highlights on them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image
from torch.nn.functional import max_pool2d

from ..utils.palette import Color, Palette
from .layout import LegendEntry, font_size, with_legend
from .pixels import displayable

HIGHLIGHT_COLOR = (255, 0, 90)
# Names of a class 0 that is no object: overlays leave the image uncovered there.
CLEAR_NAMES = ("background", "void", "unlabeled", "unlabelled")
_HALO_OPACITY = np.float32(0.5)
_MAX_PIXELS = 1 << 20  # of a band that is drawn at once: the masks and floats of a large image do not fit into memory


def overlay(
    image: torch.Tensor, classes: np.ndarray, palette: Palette, names: Sequence[str] | None = None, alpha: float = 0.55
) -> Image.Image:
    """Draw the colors of a label map over an image, with opaque outlines between the classes.

    Class 0 is left clear if it is named background, void or unlabeled, or if its color is black.

    Args:
        image: (C, H, W), values in 0 .. 255.
        classes: label map, (H, W).
        palette: color of each class.
        names: of the classes; adds a legend below the image: the classes that occur, with their shares of the pixels.
        alpha: opacity of the colors; 1 hides the image.
    """
    height, width = classes.shape
    thickness = max(1, round(max(height, width) / 1000))
    colors = np.array(palette, np.float32)
    clear = _is_clear(names, palette)
    if clear:
        colors[0] = 0  # of the dark edge around outlines, which sets off light classes on a light image
    pixels = displayable(image).permute(1, 2, 0).numpy()
    drawn = np.empty((height, width, 3), np.uint8)
    rows = max(1, _MAX_PIXELS // width)
    for top in range(0, height, rows):
        first, last = max(0, top - thickness), top + rows + thickness  # outlines depend on the neighbors of the band
        edges = outlines(classes[first:last], thickness)[top - first :][:rows]
        band = classes[top : top + rows]
        opacity = np.where(edges, np.float32(1), np.float32(alpha))
        if clear:
            opacity[band == 0] = _HALO_OPACITY * edges[band == 0]
        under = pixels[top : top + rows]
        drawn[top : top + rows] = np.rint(under + opacity[..., None] * (colors[band] - under))
    figure = Image.fromarray(drawn)
    if names is None:
        return figure
    return with_legend(figure, _shares_legend(classes, names, palette, clear), font_size(width))


def _is_clear(names: Sequence[str] | None, palette: Palette) -> bool:
    """Tell whether overlays leave class 0 clear: it is named background, void or unlabeled, or its color is black."""
    return tuple(palette[0]) == (0, 0, 0) or (names is not None and names[0].lower() in CLEAR_NAMES)


def _shares_legend(classes: np.ndarray, names: Sequence[str], palette: Palette, clear: bool) -> list[LegendEntry]:
    """Return name with share and color of the classes that occur, the most frequent first."""
    counts = np.bincount(classes.ravel(), minlength=len(names))
    order = [k for k in np.argsort(-counts, kind="stable") if counts[k]]
    shares = [f"{share:.1%}" if share >= 0.001 else "< 0.1%" for share in counts / classes.size]
    return [(f"{names[k]} {shares[k]}", None if clear and k == 0 else palette[k]) for k in order]


def outlines(classes: np.ndarray, thickness: int) -> np.ndarray:
    """Return the mask (H, W) of the pixels with another class within so many rows and columns."""

    def highest(values: torch.Tensor) -> torch.Tensor:
        side = 2 * thickness + 1  # by rows, then by columns: a square would take long for thick outlines
        values = max_pool2d(values, (side, 1), 1, (thickness, 0))
        return max_pool2d(values, (1, side), 1, (0, thickness))

    values = torch.from_numpy(classes.astype(np.float32))[None]
    return (highest(values) != -highest(-values))[0].numpy()


def fade(image: Image.Image) -> Image.Image:
    """Return an image in pale gray, as a background for highlights."""
    return Image.blend(image.convert("L").convert("RGB"), Image.new("RGB", image.size, "white"), 0.5)


def highlight(image: Image.Image, mask: np.ndarray, color: Color = HIGHLIGHT_COLOR) -> Image.Image:
    """Return a copy of an image with the pixels of a mask (H, W) of bool in a bright color."""
    highlighted = image.copy()
    highlighted.paste(color, mask=Image.fromarray(mask))
    return highlighted
