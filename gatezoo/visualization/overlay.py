"""Overlays of class colors and highlights on them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from ..utils.palette import Color, Palette
from .layout import LegendEntry, font_size, with_legend
from .pixels import index_image, to_pil

if TYPE_CHECKING:
    import torch

HIGHLIGHT_COLOR = (255, 0, 90)
# Names of a class 0 that is no object: overlays leave the image uncovered there.
CLEAR_NAMES = ("background", "void", "unlabeled", "unlabelled")
_HALO_OPACITY = np.uint8(128)


def overlay(
    image: torch.Tensor | np.ndarray,
    classes: np.ndarray,
    palette: Palette,
    names: Sequence[str] | None = None,
    alpha: float = 0.55,
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
    clear = is_clear(names, palette)
    edges = outlines(classes, max(1, round(max(classes.shape) / 1000)))
    opacity = np.where(edges, np.uint8(255), np.uint8(round(255 * alpha)))
    if clear:  # but for a dark edge around outlines, which sets off light classes on a light image
        opacity = np.where(classes == 0, _HALO_OPACITY * edges, opacity)
        palette = [(0, 0, 0), *palette[1:]]
    figure = Image.composite(_color_image(classes, palette), to_pil(image), Image.fromarray(opacity))
    if names is None:
        return figure
    return with_legend(figure, _shares_legend(classes, names, palette, clear), font_size(figure.width))


def is_clear(names: Sequence[str] | None, palette: Palette) -> bool:
    """Tell whether overlays leave class 0 clear: it is named background, void or unlabeled, or its color is black."""
    return tuple(palette[0]) == (0, 0, 0) or (names is not None and names[0].lower() in CLEAR_NAMES)


def _shares_legend(classes: np.ndarray, names: Sequence[str], palette: Palette, clear: bool) -> list[LegendEntry]:
    """Return name with share and color of the classes that occur, the most frequent first."""
    counts = np.bincount(classes.ravel(), minlength=len(names))
    order = [k for k in np.argsort(-counts, kind="stable") if counts[k]]
    shares = [f"{share:.1%}" if share >= 0.001 else "< 0.1%" for share in counts / classes.size]
    return [(f"{names[k]} {shares[k]}", None if clear and k == 0 else palette[k]) for k in order]


def _color_image(classes: np.ndarray, palette: Palette) -> Image.Image:
    if classes.dtype == np.uint8:
        return index_image(classes, palette).convert("RGB")
    return Image.fromarray(np.array(palette, np.uint8)[classes])


def outlines(classes: np.ndarray, thickness: int) -> np.ndarray:
    """Return the mask (H, W) of the borders between classes, so many pixels wide on either side."""
    edges = np.zeros(classes.shape, bool)
    for values, mask in ((classes, edges), (classes.T, edges.T)):
        differs = values[1:] != values[:-1]
        mask[1:] |= differs
        mask[:-1] |= differs
    for _ in range(thickness - 1):
        for mask in (edges, edges.T):
            mask[1:] |= mask[:-1]
            mask[:-1] |= mask[1:]
    return edges


def fade(image: Image.Image) -> Image.Image:
    """Return an image in pale gray, as a background for highlights."""
    return Image.blend(image.convert("L").convert("RGB"), Image.new("RGB", image.size, "white"), 0.5)


def highlight(image: Image.Image, mask: np.ndarray, color: Color = HIGHLIGHT_COLOR) -> Image.Image:
    """Return a copy of an image with the pixels of a mask (H, W) of bool in a bright color."""
    highlighted = image.copy()
    highlighted.paste(color, mask=Image.fromarray(mask))
    return highlighted
