"""Draw the figure of a model card: a prediction and, if the network has some, its gates."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from ..inference.gate_maps import compute_gate_maps
from ..inference.instance import InstancePredictor
from ..inference.predictor import Predictor
from ..segmenters.base import BaseSegmenter, SemanticSegmenter
from ..segmenters.instance import InstanceSegmenter
from ..utils.image_tensors import to_image_tensor
from ..utils.images import IMAGE_SUFFIXES
from ..visualization.comparison import compare_figure
from ..visualization.figures import draw_instances
from ..visualization.gates import gates_figure

FIGURE = "card.png"
# Pixels of the longer side, and colors: a few hundred kB.
_MAX_SIDE, _COLORS = 1400, 256


def card_image(path: Path | None, name: str) -> Path | None:
    """Return the image for a card: a file itself, or in a folder the one that is named after the weights, if any.

    Args:
        path: of an image or a folder; None for none.
        name: of the weights, ``architecture.tag``.
    """
    if path is None or not path.is_dir():
        return path
    return next((path / f"{name}{end}" for end in IMAGE_SUFFIXES if (path / f"{name}{end}").is_file()), None)


def draw_card_figure(model: BaseSegmenter, path: Path) -> Image.Image:
    """Draw what a network sees in an image: classes and gates, or instances.

    Raises:
        ValueError: not an image, or one with other channels than the network takes.
    """
    if isinstance(model, InstanceSegmenter):
        figure = _instances(model, path)
    else:
        assert isinstance(model, SemanticSegmenter)
        figure = _classes(model, path)
    figure.thumbnail((_MAX_SIDE, _MAX_SIDE), Image.Resampling.LANCZOS)
    return figure.quantize(_COLORS)


def _classes(model: SemanticSegmenter, path: Path) -> Image.Image:
    # An unrolled network has no gates in its first pass.
    if "gates" in model.capabilities and getattr(model, "iterations", 2) > 1:
        maps = compute_gate_maps(model, path)
        return gates_figure(maps.image, maps.classes, maps.gates, model.class_names, model.palette)
    found = Predictor(model).predict(path)
    return compare_figure(found.image, [("prediction", found.classes)], model.class_names, model.palette)


def _instances(model: InstanceSegmenter, path: Path) -> Image.Image:
    predictor = InstancePredictor(model)
    image = to_image_tensor(path, model.in_chans, predictor.image_max)
    found = predictor.instances_of(image)
    captions = [f"{name} {score:.2f}" for name, score in zip(found["names"], found["scores"])]
    boxes, labels = found["boxes"].tolist(), found["labels"].tolist()
    return draw_instances(image, found["masks"].windows(), boxes, captions, labels=labels, names=model.class_names)
