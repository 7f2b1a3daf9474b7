"""One figure of a picture, its classes and the gates that made them (GFF, Figs. 6, 7 and 9)."""

from __future__ import annotations

import math

import numpy as np
import torch
from PIL import Image

from ..inference.gate_maps import GateMaps, effects
from ..segmenters.segmenter import SegmentationModel
from .figures import blank_figure, classes_of, faded, overlay, rendered

COLUMNS = 4
COLOURS = {"changed": (255, 0, 90), "broken": (220, 30, 30), "mended": (0, 150, 60)}


def gates_figure(
    maps: GateMaps, model: SegmentationModel, labels: np.ndarray | None = None, ignore_index: int = 255
) -> Image.Image:
    """Picture, prediction, each gate on one scale with a colour bar, and where the closed gate shows, if one is closed.

    Args:
        maps: from :func:`gatezoo.inference.gate_maps.gate_maps`, of pictures with three channels.
        labels: (H, W): tell pixels that the closed gate breaks from those that it mends.

    Raises:
        ValueError: matplotlib is not installed; labels of another size.
    """
    picture = maps.picture.round().to(torch.uint8)
    shown = Image.fromarray(picture.permute(1, 2, 0).numpy())
    names, palette = classes_of(model)
    tiles = [("picture", shown), ("prediction", overlay(picture, maps.classes, palette))]
    if maps.closed:
        tiles.append(_effects_tile(maps, shown, labels, ignore_index))
    count = len(tiles) + len(maps.gates)
    columns = min(COLUMNS, count)
    rows = math.ceil(count / columns)
    width = 3.6
    height = width * shown.height / shown.width
    figure = blank_figure("the figure of gates", columns * width + 1, rows * (height + 0.35) + 0.5)
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for place in axes:
        place.set_axis_off()
    for place, (title, tile) in zip(axes, tiles):
        place.imshow(tile)
        place.set_title(title, fontsize=10)
    low, high = scale(maps)
    for place, (name, gate) in zip(axes[len(tiles) :], maps.gates.items()):
        drawn = place.imshow(gate, cmap="viridis", vmin=low, vmax=high)
        place.set_title(f"{name}, mean {gate.mean():.2f}", fontsize=10)
    figure.colorbar(drawn, ax=list(axes), label="gate: 0 closed, 1 open" if (low, high) == (0, 1) else "gate")
    patches = [_patch(names[k], palette[k]) for k in np.unique(maps.classes)]
    figure.legend(handles=patches, loc="outside lower center", ncols=min(8, len(patches)), fontsize=9, frameon=False)
    return rendered(figure)


def scale(maps: GateMaps) -> tuple[float, float]:
    """What the ends of the colour bar stand for: 0 and 1, or the gates' extremes where they go beyond."""
    low = min(float(gate.min()) for gate in maps.gates.values())
    high = max(float(gate.max()) for gate in maps.gates.values())
    return min(0.0, low), max(1.0, high)


def _effects_tile(
    maps: GateMaps, shown: Image.Image, labels: np.ndarray | None, ignore_index: int
) -> tuple[str, Image.Image]:
    marked, parts = faded(shown), []
    for name, mask in effects(maps.classes, maps.closed_classes, labels, ignore_index).items():
        marked.paste(COLOURS[name], mask=Image.fromarray(mask))
        parts.append(f"{name} {mask.mean():.1%}")
    return f"{maps.closed} = 0: {', '.join(parts)}", marked


def _patch(name: str, colour: tuple[int, int, int]):
    from matplotlib.patches import Patch

    return Patch(facecolor=[value / 255 for value in colour], edgecolor="grey", label=name)
