"""Figure of an image, its label map and the gates of the network (GFF, Figs. 6, 7 and 9)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from PIL import Image

from ..utils.palette import Palette
from .layout import Tile, class_legend, class_tile, fit_map, image_grid, image_tile, wrapped
from .overlay import HIGHLIGHT_COLOR, fade, highlight
from .pixels import colorize

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
        image: (C, H, W), values in 0 .. 255.
        classes: label map, (H, W).
        gates: each gate by its name, (H, W).
        names: of the classes.
        palette: color of each class.
        ablated: name of the gate that was set to zero; None for none.
        changes: masks (H, W) of the pixels that this changed, from :func:`prediction_changes`.
    """
    background = image_tile(image)
    tiles: list[Tile] = [("image", background), ("prediction", class_tile(classes, palette))]
    legend = class_legend([classes], names, palette)
    if ablated:
        tile, parts = fade(background), []
        for name, mask in (changes or {}).items():
            tile = highlight(tile, fit_map(mask), COLORS[name])
            parts.append(f"{name} {mask.mean():.1%}")
            legend.append((name, COLORS[name]))
        tiles.append((f"{ablated} = 0: {', '.join(parts)}", tile))
    low, high = color_range(gates)
    for name, gate in gates.items():
        caption = f"{name}, mean {gate.mean():.2f}, {gate.min():.2f} to {gate.max():.2f}"
        tiles.append((caption, colorize(fit_map(gate), low, high)))
    labels = [f"{value:.2f}" for value in np.linspace(low, high, 5)]
    return image_grid(wrapped(tiles), legend, [("gate, light: open", labels)])


def color_range(gates: Mapping[str, np.ndarray]) -> tuple[float, float]:
    """Return the smallest and the largest value of all gates, which are the ends of the color bar."""
    return min(float(gate.min()) for gate in gates.values()), max(float(gate.max()) for gate in gates.values())


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
