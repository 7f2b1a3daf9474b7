"""Depth and scales as images: what each loop of a depth-aware network says (Kong and Fowlkes, Figs. 5 and 7)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

from ..utils.palette import Palette
from .figures import image_grid, index_image
from .overlay import highlight

if TYPE_CHECKING:
    from ..inference.depth import DepthPrediction

# Far to near, dark to light: read as values in grey, too.
_COLOURS = ((36, 8, 60), (92, 24, 110), (164, 44, 96), (224, 92, 56), (250, 168, 60), (252, 240, 168))

# A depth that a loop changes by less than this share is drawn as unchanged.
_SAME = 0.05


def depth_image(metres: np.ndarray) -> Image.Image:
    """Depth (H, W) as a 16-bit image of millimetres, at most 65.535 m."""
    return Image.fromarray((1000 * metres).round().clip(0, 65535).astype(np.uint16))


def colorize_depth(nearness: np.ndarray) -> Image.Image:
    """Values in 0 .. 1 (H, W), 1 the nearest, as colours from dark to light."""
    stops = np.linspace(0, 1, len(_COLOURS))
    channels = [np.interp(nearness, stops, channel) for channel in zip(*_COLOURS)]
    return Image.fromarray(np.stack(channels, -1).round().astype(np.uint8))


def plot_loops(
    image: torch.Tensor | None, looks: Sequence[DepthPrediction], names: Sequence[str], palette: Palette
) -> Image.Image:
    """One figure: the image, and of each loop classes, depth and chosen scale, with what it changed of them below.

    Depth is coloured by its logarithm over one range for all loops, which the bar beside the image tells in metres.
    Chosen is the scale of the largest weight.
    """
    shape = looks[0].classes.shape
    blank = Image.new("RGB", shape[::-1], "white")
    shown = blank if image is None else Image.fromarray(image.permute(1, 2, 0).numpy())
    faint = Image.blend(shown.convert("L").convert("RGB"), blank, 0.5)
    logs = np.log(np.stack([look.metres for look in looks]))
    low, high = logs.min(), max(logs.max(), logs.min() + 1e-6)
    scales = [_at(look.weights.argmax(0), shape) for look in looks]
    top = max(1, looks[0].weights.shape[0] - 1)
    columns = [[("image", shown), ("", None), ("metres", _bar(shape, low, high)), ("", None), *[("", None)] * 2]]
    for number, look in enumerate(looks):
        column = [
            (f"loop {number}", index_image(look.classes, palette).convert("RGB")),
            ("", None),
            ("depth", colorize_depth((high - logs[number]) / (high - low))),
            ("", None),
            ("scale, light: large field", colorize_depth(scales[number] / top)),
            ("", None),
        ]
        if number:
            before = looks[number - 1]
            changes = {
                1: before.classes != look.classes,
                3: np.abs(logs[number] - logs[number - 1]) > np.log1p(_SAME),
                5: scales[number] != scales[number - 1],
            }
            for row, changed in changes.items():
                column[row] = (f"changed: {changed.mean():.1%}", highlight(faint, changed))
        columns.append(column)
    if len(looks) == 1:  # nothing changes: no rows for it
        columns = [column[::2] for column in columns]
    present = np.unique(np.concatenate([look.classes.ravel() for look in looks]))
    return image_grid(columns, [(names[k], tuple(palette[k])) for k in present])


def _at(scales: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """A map of scales (h, w) at the size of the image, by its nearest values."""
    return np.array(Image.fromarray(scales.astype(np.uint8)).resize(shape[::-1], Image.Resampling.NEAREST))


def _bar(shape: tuple[int, int], low: float, high: float) -> Image.Image:
    """The colours of depths, nearest on top, with their metres."""
    tile = Image.new("RGB", shape[::-1], "white")
    height = shape[0]
    tile.paste(colorize_depth(np.repeat(np.linspace(1, 0, height)[:, None], max(1, shape[1] // 6), 1)), (0, 0))
    draw, font = ImageDraw.Draw(tile), ImageFont.load_default(size=14)
    for share in np.linspace(0, 1, 5):
        y = min(round(share * height), height - 16)
        draw.text((shape[1] // 6 + 6, max(0, y - 8)), f"{np.exp(low + share * (high - low)):.1f}", "black", font)
    return tile
