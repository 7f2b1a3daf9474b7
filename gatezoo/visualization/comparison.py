"""Figures that compare predictions with one another and with the ground truth (DIGNet and RIGNet, Figs. 7)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image

from ..utils.palette import Palette
from .layout import Tile, class_legend, class_tile, fit_map, hatched, image_grid, image_tile, wrapped
from .overlay import HIGHLIGHT_COLOR, fade, highlight

_CORRECT_COLOR = (200, 200, 200)


def error_figure(
    image: torch.Tensor,
    labels: np.ndarray,
    classes: np.ndarray,
    names: Sequence[str],
    palette: Palette,
    ignore_index: int = 255,
) -> Image.Image:
    """Draw an image over its ground truth, and the prediction over the map of its errors, with their scores.

    See :func:`compare_figure`, which this is for one network.

    Raises:
        ValueError: the labels have another size than the image, or a value that is no class.
    """
    return compare_figure(image, [("prediction", classes)], names, palette, labels, ignore_index)


def compare_figure(
    image: torch.Tensor,
    predictions: Sequence[tuple[str, np.ndarray]],
    names: Sequence[str],
    palette: Palette,
    labels: np.ndarray | None = None,
    ignore_index: int = 255,
) -> Image.Image:
    """Draw predictions of several networks side by side; with labels, the map of the errors of each below it.

    The captions of the errors have the share of correct pixels and the mIoU of this image, over the classes that occur
    in its labels or in the prediction.

    Args:
        image: (C, H, W), values in 0 .. 255.
        predictions: title and label map (H, W) of each network.
        names: of the classes.
        palette: color of each class.
        labels: true label map, (H, W).
        ignore_index: label that does not count.

    Raises:
        ValueError: the labels have another size than the image, or a value that is no class.
    """
    background = image_tile(image)
    tiles: list[Tile] = [("image", background)]
    tiles += [(title, class_tile(classes, palette)) for title, classes in predictions]
    maps = [classes for _, classes in predictions]
    if labels is None:
        return image_grid(wrapped(tiles), class_legend(maps, names, palette))
    columns = [[tile] for tile in tiles]
    counted = check_labels(labels, tuple(image.shape[-2:]), len(names), ignore_index)
    faded = hatched(fade(background), fit_map(~counted))
    columns[0].append(("ground truth", class_tile(labels, palette, ignore_index)))
    for column, classes in zip(columns[1:], maps):
        accuracy, miou = _image_scores(labels[counted], classes[counted], len(names))
        errors = highlight(faded, fit_map(counted & (classes != labels)))
        column.append((f"{accuracy:.1%} correct, mIoU {miou:.1%}", errors))
    legend = class_legend([labels[counted], *maps], names, palette)
    legend += [("correct", _CORRECT_COLOR), ("wrong", HIGHLIGHT_COLOR)]
    return image_grid(columns, legend + [("ignored", None)] * (not counted.all()))


def check_labels(labels: np.ndarray, shape: tuple[int, ...], num_classes: int, ignore_index: int) -> np.ndarray:
    """Check a true label map, and return the mask (H, W) of the pixels that count.

    Raises:
        ValueError: another size than that of the image, or a value that is no class.
    """
    if labels.shape != shape:
        size = "x".join(map(str, labels.shape))
        raise ValueError(f"labels must have the size of their image, {shape[0]}x{shape[1]}; got {size}")
    counted = labels != ignore_index
    wrong = labels[counted & ((labels < 0) | (labels >= num_classes))]
    if wrong.size:
        raise ValueError(
            f"labels must be 0 .. {num_classes - 1}, or {ignore_index} (ignored); got {wrong[0]}: "
            "convert them to class indices, or pass another ignore_index"
        )
    return counted


def _image_scores(labels: np.ndarray, classes: np.ndarray, num_classes: int) -> tuple[float, float]:
    """Return the share of correct pixels and the mean IoU of the classes that occur; NaN without pixels."""
    if not labels.size:
        return np.nan, np.nan
    correct = labels == classes
    hits = np.bincount(labels[correct], minlength=num_classes)
    unions = np.bincount(labels, minlength=num_classes) + np.bincount(classes, minlength=num_classes) - hits
    occurs = unions > 0
    return correct.mean(), (hits[occurs] / unions[occurs]).mean()
