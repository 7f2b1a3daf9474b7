"""Figure of an image, its label map and the gates of the network (GFF, Figs. 6, 7 and 9)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image

from ..utils.optional import require_extra
from ..utils.palette import Palette
from .figures import Color, figure_to_image, new_figure
from .overlay import HIGHLIGHT_COLOR, fade, overlay

if TYPE_CHECKING:
    from matplotlib.patches import Patch

# A command that draws gates says so before it computes them.
require_extra("train", "the figure of gates", "matplotlib")

COLUMNS = 4
COLORS = {"changed": HIGHLIGHT_COLOR, "worse": (220, 30, 30), "better": (0, 150, 60)}


def gates_figure(
    image: torch.Tensor,
    classes: np.ndarray,
    gates: Mapping[str, np.ndarray],
    names: Sequence[str],
    palette: Palette,
    ablated: str | None = None,
    changes: Mapping[str, np.ndarray] | None = None,
) -> Image.Image:
    """Draw image, prediction, all gates on one scale with a color bar, and the changes by an ablated gate.

    Args:
        image: (3, H, W), values in 0 .. 255.
        classes: label map, (H, W).
        gates: each gate by its name, (H, W).
        names: of the classes.
        palette: color of each class.
        ablated: name of the gate that was set to zero; None for none.
        changes: masks (H, W) of the pixels that this changed, from :func:`prediction_changes`.

    Raises:
        ValueError: matplotlib is not installed.
    """
    image = image.round().to(torch.uint8)
    background = Image.fromarray(image.permute(1, 2, 0).numpy())
    tiles = [("image", background), ("prediction", overlay(image, classes, palette))]
    if ablated:
        tiles.append(_changes_tile(background, ablated, changes or {}))
    count = len(tiles) + len(gates)
    columns = min(COLUMNS, count)
    rows = math.ceil(count / columns)
    width = 3.6
    height = width * background.height / background.width
    figure = new_figure("the figure of gates", columns * width + 1, rows * (height + 0.35) + 0.5)
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for axis in axes:
        axis.set_axis_off()
    for axis, (title, tile) in zip(axes, tiles):
        axis.imshow(tile)
        axis.set_title(title, fontsize=10)
    low, high = color_range(gates)
    for axis, (name, gate) in zip(axes[len(tiles) :], gates.items()):
        drawn = axis.imshow(gate, cmap="viridis", vmin=low, vmax=high)
        axis.set_title(f"{name}, mean {gate.mean():.2f}", fontsize=10)
    figure.colorbar(drawn, ax=list(axes), label="gate: 0 closed, 1 open" if (low, high) == (0, 1) else "gate")
    patches = [_patch(names[k], palette[k]) for k in np.unique(classes)]
    figure.legend(handles=patches, loc="outside lower center", ncols=min(8, len(patches)), fontsize=9, frameon=False)
    return figure_to_image(figure)


def color_range(gates: Mapping[str, np.ndarray]) -> tuple[float, float]:
    """Return the ends of the color bar: 0 and 1, or the extremes of the gates where these lie outside."""
    low = min(float(gate.min()) for gate in gates.values())
    high = max(float(gate.max()) for gate in gates.values())
    return min(0.0, low), max(1.0, high)


def _changes_tile(background: Image.Image, ablated: str, changes: Mapping[str, np.ndarray]) -> tuple[str, Image.Image]:
    tile, parts = fade(background), []
    for name, mask in changes.items():
        tile.paste(COLORS[name], mask=Image.fromarray(mask))
        parts.append(f"{name} {mask.mean():.1%}")
    return f"{ablated} = 0: {', '.join(parts)}", tile


def _patch(name: str, color: Color) -> Patch:
    from matplotlib.patches import Patch

    red, green, blue = color
    return Patch(facecolor=(red / 255, green / 255, blue / 255), edgecolor="grey", label=name)


def prediction_changes(
    before: np.ndarray, after: np.ndarray, labels: np.ndarray | None = None, ignore_index: int = 255
) -> dict[str, np.ndarray]:
    """Compare two predictions and return masks (H, W) of the changed pixels by name.

    Args:
        before, after: label maps, (H, W).
        labels: true label map, (H, W).
        ignore_index: label that does not count.

    Returns:
        Without labels "changed", the pixels of another class than before. With labels "worse", correct before and wrong
        after, and "better", wrong before and correct after; pixels that do not count are neither.

    Raises:
        ValueError: the labels have another size than the image.
    """
    changed = before != after
    if labels is None:
        return {"changed": changed}
    if labels.shape != before.shape:
        raise ValueError(
            f"labels must have the size of their image, {before.shape[0]}x{before.shape[1]}; "
            f"got {labels.shape[0]}x{labels.shape[1]}"
        )
    counted = labels != ignore_index
    return {"worse": counted & changed & (before == labels), "better": counted & changed & (after == labels)}
