"""Figures of depth and scales: the prediction of each loop of a depth-aware network (Kong and Fowlkes, Figs. 5, 7)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

from ..utils.palette import Palette
from .figures import Tile, class_legend, image_grid, index_image
from .overlay import fade, highlight

if TYPE_CHECKING:
    from ..inference.prediction import Prediction

# Far to near, dark to light, so that the order is kept in gray.
_COLORS = ((36, 8, 60), (92, 24, 110), (164, 44, 96), (224, 92, 56), (250, 168, 60), (252, 240, 168))

# A relative change of depth up to this share is drawn as unchanged.
_MAX_UNCHANGED = 0.05

_EMPTY: Tile = ("", None)


def depth_image(depth: np.ndarray) -> Image.Image:
    """Convert depth (H, W) in metres to a 16-bit image of millimetres, at most 65.535 m."""
    return Image.fromarray((1000 * depth).round().clip(0, 65535).astype(np.uint16))


def colorize_depth(nearness: np.ndarray) -> Image.Image:
    """Convert values (H, W) in 0 .. 1, 1 for the nearest, to colors from dark to light."""
    stops = np.linspace(0, 1, len(_COLORS))
    channels = [np.interp(nearness, stops, channel) for channel in zip(*_COLORS)]
    return Image.fromarray(np.stack(channels, -1).round().astype(np.uint8))


def plot_loops(
    image: torch.Tensor, predictions: Sequence[Prediction], names: Sequence[str], palette: Palette
) -> Image.Image:
    """Draw an image, and classes, depth and chosen scale of each loop, with the changes of each loop below.

    Depth is colored by its logarithm over one range for all loops; the bar below the image shows the range in metres.
    The chosen scale is the one with the largest weight.

    Args:
        image: uint8 (3, H, W).
        predictions: of each loop.
        names: of the classes.
        palette: color of each class.
    """
    shape = predictions[0].classes.shape
    background = Image.fromarray(image.permute(1, 2, 0).numpy())
    faded = fade(background)
    log_depths = np.log(np.stack([prediction.depth for prediction in predictions]))
    low, high = log_depths.min(), max(log_depths.max(), log_depths.min() + 1e-6)
    scales = [_resize_nearest(prediction.scale_weights.argmax(0), shape) for prediction in predictions]
    max_scale = max(1, predictions[0].scale_weights.shape[0] - 1)
    columns: list[list[Tile]] = [
        [("image", background), _EMPTY, ("metres", _color_bar(shape, low, high)), _EMPTY, _EMPTY, _EMPTY]
    ]
    for loop, prediction in enumerate(predictions):
        column: list[Tile] = [
            (f"loop {loop}", index_image(prediction.classes, palette).convert("RGB")),
            _EMPTY,
            ("depth", colorize_depth((high - log_depths[loop]) / (high - low))),
            _EMPTY,
            ("scale, light: large field", colorize_depth(scales[loop] / max_scale)),
            _EMPTY,
        ]
        if loop:
            changes = {
                1: predictions[loop - 1].classes != prediction.classes,
                3: np.abs(log_depths[loop] - log_depths[loop - 1]) > np.log1p(_MAX_UNCHANGED),
                5: scales[loop] != scales[loop - 1],
            }
            for row, changed in changes.items():
                column[row] = (f"changed: {changed.mean():.1%}", highlight(faded, changed))
        columns.append(column)
    if len(predictions) == 1:  # a single loop has no changes: leave their rows out
        columns = [column[::2] for column in columns]
    return image_grid(columns, class_legend([prediction.classes for prediction in predictions], names, palette))


def _resize_nearest(scales: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Resize a map of scales (h, w) to (H, W) by nearest neighbor."""
    height, width = shape
    return np.array(Image.fromarray(scales.astype(np.uint8)).resize((width, height), Image.Resampling.NEAREST))


def _color_bar(shape: tuple[int, ...], low: float, high: float) -> Image.Image:
    """Draw the colors of log-depths from ``low`` (top) to ``high``, labeled in metres, as a tile (H, W)."""
    height, width = shape
    bar_width = max(1, width // 6)
    tile = Image.new("RGB", (width, height), "white")
    tile.paste(colorize_depth(np.repeat(np.linspace(1, 0, height)[:, None], bar_width, 1)), (0, 0))
    draw, font = ImageDraw.Draw(tile), ImageFont.load_default(size=14)
    for share in np.linspace(0, 1, 5):
        y = min(round(share * height), height - 16)
        depth = np.exp(low + share * (high - low))
        draw.text((width // 6 + 6, max(0, y - 8)), f"{depth:.1f}", "black", font)
    return tile
