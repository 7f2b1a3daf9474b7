"""Figures of depth and scales: the prediction of each loop of a depth-aware network (Kong and Fowlkes, Figs. 5, 7)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image

from ..utils.palette import Palette
from .layout import Tile, class_legend, class_tile, fit_map, image_grid, image_tile
from .overlay import HIGHLIGHT_COLOR, fade, highlight
from .pixels import colorize

if TYPE_CHECKING:
    from ..inference.prediction import Prediction

# A relative change of depth up to this share is drawn as unchanged.
_MAX_UNCHANGED = 0.05
_DEPTH_CHANGE_COLOR = (0, 120, 230)


def depth_image(depth: np.ndarray) -> Image.Image:
    """Convert depth (H, W) in metres to a 16-bit image of millimetres, at most 65.535 m."""
    return Image.fromarray((1000 * depth).round().clip(0, 65535).astype(np.uint16))


def plot_loops(
    image: torch.Tensor, predictions: Sequence[Prediction], names: Sequence[str], palette: Palette
) -> Image.Image:
    """Draw the image and, in a row for each loop, its changes, classes, depth and chosen scale.

    Depth is colored by its logarithm over one range for all loops, near in light colors; a bar shows the range in
    metres. The chosen scale is the one with the largest weight.

    Args:
        image: (C, H, W), values in 0 .. 255.
        predictions: of each loop.
        names: of the classes.
        palette: color of each class.
    """
    background = image_tile(image)
    faded = fade(background)
    depths, scales, max_scale = [], [], 1
    for prediction in predictions:
        assert prediction.depth is not None
        assert prediction.scale_weights is not None
        depths.append(np.log(prediction.depth))
        max_scale = max(max_scale, len(prediction.scale_weights) - 1)
        scales.append(_resize_nearest(prediction.scale_weights.argmax(0), prediction.classes.shape))
    low, high = min(depth.min() for depth in depths), max(depth.max() for depth in depths)
    rows: list[list[Tile]] = []
    for loop, prediction in enumerate(predictions):
        shown: Tile = ("image", background)
        captions = [f"loop {loop}: classes", "depth", "scale"]
        if loop:
            before = predictions[loop - 1]
            changes = (
                before.classes != prediction.classes,
                np.abs(depths[loop] - depths[loop - 1]) > np.log1p(_MAX_UNCHANGED),
                scales[loop] != scales[loop - 1],
            )
            captions = [f"{caption}, {change.mean():.1%} changed" for caption, change in zip(captions, changes)]
            marked = highlight(highlight(faded, fit_map(changes[1]), _DEPTH_CHANGE_COLOR), fit_map(changes[0]))
            shown = (f"changed by loop {loop}", marked)
        tiles = (
            class_tile(prediction.classes, palette),
            colorize(-fit_map(depths[loop]), -high, -low),
            colorize(fit_map(scales[loop]), 0, max_scale),
        )
        rows.append([shown, *zip(captions, tiles)])
    legend = class_legend([prediction.classes for prediction in predictions], names, palette)
    if len(predictions) > 1:
        legend += [("other class", HIGHLIGHT_COLOR), (f"depth changed by > {_MAX_UNCHANGED:.0%}", _DEPTH_CHANGE_COLOR)]
    metres = [f"{np.exp(value):.1f}" for value in np.linspace(high, low, 7)]
    bars = [("depth in metres", metres), ("scale", ["small field of view", "large"])]
    return image_grid(list(zip(*rows)), legend, bars)


def _resize_nearest(scales: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Resize a map of scales (h, w) to (H, W) by nearest neighbor."""
    height, width = shape
    return np.array(Image.fromarray(scales.astype(np.uint8)).resize((width, height), Image.Resampling.NEAREST))
