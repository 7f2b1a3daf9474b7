"""Compare what several networks predict for one image."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from ..segmenters.base import BaseSegmenter, SemanticSegmenter
from ..visualization.comparison import compare_figure
from .image_files import error_context
from .predictor import Predictor
from .semantic_files import label_maps, read_depth_map


def compare_networks(
    models: Iterable[tuple[str, BaseSegmenter]],
    image: Path,
    labels: Path | None = None,
    *,
    device: str | torch.device | None = None,
    depth_map: Path | None = None,
    image_max: float | None = None,
) -> Image.Image:
    """Draw the predictions of several networks for an image; with labels, the errors of each and their mean IoU.

    Args:
        models: title and network; taken one after the other, so that they can be loaded one at a time.
        image: the image file.
        labels: its label file, in the format of the data that the first network was trained on.
        device: that the networks run on; default: where they are.
        depth_map: depth of the image, for the networks that take it (``gate="given"``).
        image_max: value of full brightness in image files, see :class:`gatezoo.Predictor`.

    Raises:
        ValueError: fewer than two networks, networks of other classes than the first or of another task; what
            :class:`gatezoo.Predictor` refuses.
    """
    predictions: list[tuple[str, np.ndarray]] = []
    first: SemanticSegmenter | None = None
    label_map, ignore_index, takes_depth = None, 255, False
    shown = torch.empty(0)
    for title, model in models:
        if not isinstance(model, SemanticSegmenter):
            raise ValueError(f"networks to compare must be of semantic segmentation; {title} is of task {model.task!r}")
        predictor = Predictor(model, device, image_max=image_max)
        if first is None:
            first = model
            if labels is not None:
                data = label_maps(model, [image], labels)
                label_map, ignore_index = data.labels(0).numpy(), data.ignore_index
        elif model.class_names != first.class_names:
            raise ValueError(
                f"networks to compare must have the same classes; {predictions[0][0]} has {first.num_classes}, "
                f"{_first_classes(first)}, and {title} {model.num_classes}, {_first_classes(model)}"
            )
        with error_context(image):
            given = read_depth_map(model, image, depth_map if model.takes_depth else None)
            prediction = predictor.predict(image, given)
        takes_depth |= model.takes_depth
        predictions.append((title, prediction.classes))
        shown = prediction.image
    if depth_map is not None and not takes_depth:
        raise ValueError("depth_map must be left out: none of the networks takes the depth of the image")
    if first is None or len(predictions) < 2:
        raise ValueError(f"networks to compare must be two at least; got {len(predictions)}: name another before IMAGE")
    with error_context(image):
        return compare_figure(shown, predictions, first.class_names, first.palette, label_map, ignore_index)


def _first_classes(model: SemanticSegmenter) -> str:
    return ", ".join(model.class_names[:3]) + (" ..." if model.num_classes > 3 else "")
