"""One figure of a image, its classes and the gates that made them (GFF, Figs. 6, 7 and 9)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from PIL import Image

from ..utils.palette import Palette
from .figures import figure_to_image, new_figure
from .overlay import fade, overlay

COLUMNS = 4
COLOURS = {"changed": (255, 0, 90), "broken": (220, 30, 30), "mended": (0, 150, 60)}


def gates_figure(
    image: torch.Tensor,
    classes: np.ndarray,
    gates: Mapping[str, np.ndarray],
    names: Sequence[str],
    palette: Palette,
    closed: str | None = None,
    changes: Mapping[str, np.ndarray] | None = None,
) -> Image.Image:
    """Draw image, prediction, each gate on one scale with a colour bar, and what a closed gate changes.

    Args:
        image: (3, H, W), values in 0 .. 255.
        classes: the class of every pixel, (H, W).
        gates: each gate by its name, (H, W).
        names: of the classes.
        palette: their colours.
        closed: name of the gate that was closed, if one was.
        changes: masks (H, W) of what that changed, from :func:`prediction_changes`.

    Raises:
        ValueError: matplotlib is not installed.
    """
    image = image.round().to(torch.uint8)
    shown = Image.fromarray(image.permute(1, 2, 0).numpy())
    tiles = [("image", shown), ("prediction", overlay(image, classes, palette))]
    if closed:
        tiles.append(_changes_tile(shown, closed, changes or {}))
    count = len(tiles) + len(gates)
    columns = min(COLUMNS, count)
    rows = math.ceil(count / columns)
    width = 3.6
    height = width * shown.height / shown.width
    figure = new_figure("the figure of gates", columns * width + 1, rows * (height + 0.35) + 0.5)
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for place in axes:
        place.set_axis_off()
    for place, (title, tile) in zip(axes, tiles):
        place.imshow(tile)
        place.set_title(title, fontsize=10)
    low, high = scale(gates)
    for place, (name, gate) in zip(axes[len(tiles) :], gates.items()):
        drawn = place.imshow(gate, cmap="viridis", vmin=low, vmax=high)
        place.set_title(f"{name}, mean {gate.mean():.2f}", fontsize=10)
    figure.colorbar(drawn, ax=list(axes), label="gate: 0 closed, 1 open" if (low, high) == (0, 1) else "gate")
    patches = [_patch(names[k], palette[k]) for k in np.unique(classes)]
    figure.legend(handles=patches, loc="outside lower center", ncols=min(8, len(patches)), fontsize=9, frameon=False)
    return figure_to_image(figure)


def scale(gates: Mapping[str, np.ndarray]) -> tuple[float, float]:
    """What the ends of the colour bar stand for: 0 and 1, or the gates' extremes where they go beyond."""
    low = min(float(gate.min()) for gate in gates.values())
    high = max(float(gate.max()) for gate in gates.values())
    return min(0.0, low), max(1.0, high)


def _changes_tile(shown: Image.Image, closed: str, changes: Mapping[str, np.ndarray]) -> tuple[str, Image.Image]:
    marked, parts = fade(shown), []
    for name, mask in changes.items():
        marked.paste(COLOURS[name], mask=Image.fromarray(mask))
        parts.append(f"{name} {mask.mean():.1%}")
    return f"{closed} = 0: {', '.join(parts)}", marked


def _patch(name: str, colour: tuple[int, int, int]):
    from matplotlib.patches import Patch

    return Patch(facecolor=[value / 255 for value in colour], edgecolor="grey", label=name)


def prediction_changes(
    before: np.ndarray, after: np.ndarray, labels: np.ndarray | None = None, ignore_index: int = 255
) -> dict[str, np.ndarray]:
    """Where a change of the prediction shows, as masks (H, W) by name.

    Without labels: "changed", another class than before. With labels: "broken", right before and wrong after, and
    "mended", wrong before and right after; pixels that do not count are neither.

    Raises:
        ValueError: labels of another size than the image's.
    """
    changed = before != after
    if labels is None:
        return {"changed": changed}
    if labels.shape != before.shape:
        raise ValueError(
            f"labels must have the size of their image, {before.shape[0]}x{before.shape[1]}; "
            f"got {labels.shape[0]}x{labels.shape[1]}"
        )
    counts = labels != ignore_index
    return {"broken": counts & changed & (before == labels), "mended": counts & changed & (after == labels)}
