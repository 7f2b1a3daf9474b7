"""The Compare tab without its widgets: two networks on one image, with their difference, time and cost."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass
from typing import Any

import torch

from ..inference.instance import SCORE_THRESHOLD, InstancePredictor
from ..inference.predictor import MAX_WHOLE_PIXELS
from ..inference.writers import class_shares
from ..model_info import count_gmacs, count_parameters, on_meta
from ..segmenters.base import BaseSegmenter
from ..utils.devices import describe_device
from ..visualization.figures import draw_instances
from ..visualization.layout import class_legend
from ..visualization.overlay import HIGHLIGHT_COLOR, fade, highlight
from ..visualization.pixels import to_pil
from . import jobs, markup
from .image_file import ImageFile
from .models import Loaded
from .segmenting import overlay_layers

# A prediction that took longer is not repeated for its time.
_REPEAT_BELOW = 2.0
_REPEATS = 3


@dataclass(frozen=True)
class Measured:
    """What a network predicts for an image, and what that costs.

    Attributes:
        loaded: the network.
        result: a label map (H, W), or instances with at least the usual score.
        seconds: of a prediction: the median of three after the first; of the first alone if that took two seconds.
        gmacs: 10^9 multiply-accumulates, as ``gatezoo info`` counts them, for an image of this size.
        parameters: in millions.
    """

    loaded: Loaded
    result: Any
    seconds: float
    gmacs: float
    parameters: float


def measure(loaded: Loaded, file: ImageFile) -> tuple[torch.Tensor, Measured]:
    """Predict an image with a network, and return the image and what was predicted and measured.

    Raises:
        ValueError: an image above 4 megapixels, or what the network refuses.
    """
    with file.as_file() as path:
        image = loaded.predictor.read(path)
    height, width = image.shape[-2:]
    if height * width > MAX_WHOLE_PIXELS:
        raise ValueError(
            f"an image must have at most {MAX_WHOLE_PIXELS / 1e6:g} megapixels to compare networks on it; "
            f"{file.name} is {width} x {height}: reduce it"
        )
    jobs.report(None, f"predicting with {loaded.name}")
    result, first = _timed(loaded, image)
    repeats = _REPEATS if first < _REPEAT_BELOW else 0
    seconds = statistics.median(_timed(loaded, image)[1] for _ in range(repeats)) if repeats else first
    model = loaded.predictor.model
    return image, Measured(loaded, result, seconds, gmacs_of(model, height, width), count_parameters(model) / 1e6)


def gmacs_of(model: BaseSegmenter, height: int, width: int) -> float:
    """Return the multiply-accumulates of a network for an image, in 10^9: :func:`gatezoo.model_info.count_gmacs`."""
    assert model.architecture is not None
    return count_gmacs(on_meta(model.architecture, **model.model_kwargs), height, width)


def _timed(loaded: Loaded, image: torch.Tensor) -> tuple[Any, float]:
    """Return the prediction of an image and its seconds."""
    predictor, start = loaded.predictor, time.perf_counter()
    if isinstance(predictor, InstancePredictor):
        found = predictor.instances_of(image)
        return found, time.perf_counter() - start
    classes = loaded.semantic().predict_decoded(image).classes
    return classes, time.perf_counter() - start


def compare(first: Loaded, second: Loaded, file: ImageFile) -> str:
    """Return the HTML of two networks' predictions side by side, of their difference, time and cost.

    Raises:
        ValueError: networks of different tasks; what :func:`measure` refuses.
    """
    tasks = [loaded.predictor.model.task for loaded in (first, second)]
    if tasks[0] != tasks[1]:
        raise ValueError(
            f"networks to compare must have one task; {first.name} is of {tasks[0]!r} and {second.name} of "
            f"{tasks[1]!r}: choose another"
        )
    image, one = measure(first, file)
    _, other = measure(second, file)
    figures = [_drawn(image, measured) for measured in (one, other)]
    names = [measured.loaded.predictor.model.class_names for measured in (one, other)]
    legend, text = "", ""
    if tasks[0] == "semantic" and names[0] == names[1]:
        differs = one.result != other.result
        caption = f"different classes: {differs.mean():.2%} of the pixels"
        marked = highlight(fade(to_pil(image)), differs, HIGHLIGHT_COLOR)
        figures.append(markup.figure(markup.img(marked, caption), caption))
        palette = one.loaded.predictor.model.palette
        shares = [class_shares(measured.result, names[0]) for measured in (one, other)]
        entries = class_legend([one.result, other.result], names[0], palette)
        legend = markup.legend(
            (name, color, " | ".join(f"{share.get(name, 0):.1%}" for share in shares)) for name, color in entries
        )
    elif tasks[0] == "semantic":
        text = markup.note("The networks have different classes: there is no map of their difference.")
    rows = [
        (
            measured.loaded.name,
            f"{1000 * measured.seconds:.0f} ms",
            f"{measured.gmacs:.1f}",
            f"{measured.parameters:.2f} M",
            str(len(measured.loaded.predictor.model.class_names)),
        )
        for measured in (one, other)
    ]
    device = describe_device(first.predictor.device)
    height, width = image.shape[-2:]
    size = markup.note(f"Time of one image of {width} x {height} on {device}, read and decoded before.")
    table = markup.table(["model", "time", "GMAC", "parameters", "classes"], rows)
    return "".join([markup.grid(figures), legend, text, table, size])


def _drawn(image: torch.Tensor, measured: Measured) -> str:
    """Return the figure of a prediction."""
    model, found = measured.loaded.predictor.model, measured.result
    if model.task == "semantic":
        return markup.figure(overlay_layers(image, found, model.palette, model.class_names), measured.loaded.name)
    kept = int((found["scores"] >= SCORE_THRESHOLD).sum())
    boxes, labels = found["boxes"][:kept].tolist(), found["labels"][:kept].tolist()
    masks = (window for window, _ in zip(found["masks"].windows(), range(kept)))
    drawn = draw_instances(image, masks, boxes, [""] * kept, labels=labels)
    caption = f"{measured.loaded.name}: {kept} instances"
    return markup.figure(markup.img(drawn, caption), caption)
