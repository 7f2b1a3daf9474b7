"""The tab of passes and gates without its widgets: what each pass and each gate of a network does on one image."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..inference.ablation import without_gate
from ..inference.gate_maps import resize_gate
from ..inference.predictor import Predictor
from ..visualization.overlay import HIGHLIGHT_COLOR, fade, highlight
from ..visualization.pixels import to_pil
from . import jobs, markup
from .image_file import ImageFile
from .models import Loaded
from .segmenting import overlay_layers

MAX_PASSES = 10
# Pixels of an image times its passes, all of which are kept for the visitor.
MAX_KEPT = 8_000_000


@dataclass(frozen=True)
class PassView:
    """What one pass predicts.

    Attributes:
        classes: label map, (H, W).
        confidence: probability of its class at each pixel, (H, W) of float16.
        instability: how much the pass moved the probabilities, (H, W) of float16, see
            :class:`gatezoo.inference.Prediction`; None of the first pass.
        gates: each gate by its name, (h, w) of float32: the mean over its channels, at the size of its own maps.
    """

    classes: np.ndarray
    confidence: np.ndarray
    instability: np.ndarray | None
    gates: dict[str, np.ndarray]


@dataclass(frozen=True)
class Exploration:
    """All passes of a network over one image, kept for one visitor.

    Attributes:
        model: name of the network.
        file: the image.
        image: its pixels, (C, H, W), values in 0 .. 255.
        passes: first to last.
        divisor: of the network's maps, see :func:`gatezoo.inference.gate_maps.resize_gate`.
        closable: names of the gates that can be closed.
        closed: gates that were closed for ``without``.
        without: the last pass of the network with these gates closed; None if none is.
    """

    model: str
    file: ImageFile
    image: Tensor
    passes: list[PassView]
    divisor: int
    closable: list[str]
    closed: tuple[str, ...] = ()
    without: PassView | None = None

    @property
    def gate_names(self) -> list[str]:
        """Names of the gates of all passes, in order."""
        return max((list(one.gates) for one in self.passes), key=len)

    def gate(self, number: int, name: str) -> np.ndarray:
        """Return a gate of a pass, numbered from 1, at the size of the image: (H, W)."""
        gate = torch.from_numpy(self.passes[number - 1].gates[name])
        return resize_gate(gate, self.image.shape[-2:], self.divisor).numpy()


def default_passes(loaded: Loaded) -> int:
    """Return the network's own number of passes."""
    model = loaded.semantic().model
    return int(model.iterations) if "iterations" in model.capabilities else 1  # type: ignore[arg-type]


def explore(loaded: Loaded, file: ImageFile, passes: int | None = None) -> Exploration:
    """Run a network over an image and keep what each pass predicts, and its gates.

    Args:
        loaded: the network.
        file: the image.
        passes: their number, of an unrolled network; default: its own.

    Raises:
        ValueError: a network for instances, an image above 4 megapixels, or more pixels and passes than are kept.
    """
    predictor = _with_passes(loaded.semantic(), passes)
    with file.as_file() as path:
        image = predictor.read(path)
    height, width = image.shape[-2:]
    count = passes or default_passes(loaded)
    if height * width * count > MAX_KEPT:
        raise ValueError(
            f"an image must have at most {MAX_KEPT / count / 1e6:.1f} megapixels for {count} passes; {file.name} is "
            f"{width} x {height}: reduce it"
        )
    views = _run(predictor, image)
    names = [f"G{number}" for number in sorted(predictor.model.gate_modules())]
    return Exploration(loaded.name, file, image, views, predictor.model.backbone.size_divisor, names)


def close_gates(loaded: Loaded, exploration: Exploration, names: Collection[str]) -> Exploration:
    """Predict the image of an exploration with some gates closed, zero everywhere and in every pass.

    Raises:
        ValueError: a gate that the network does not have.
    """
    if not names:
        return dataclasses.replace(exploration, closed=(), without=None)
    passes = len(exploration.passes)
    predictor = _with_passes(loaded.semantic(), passes if passes > 1 else None)
    model = functools.reduce(without_gate, names, predictor.model)
    without = _run(Predictor(model, iterations=predictor.iterations, shared=True), exploration.image, last=True)
    return dataclasses.replace(exploration, closed=tuple(names), without=without[-1])


def _with_passes(predictor: Predictor, passes: int | None) -> Predictor:
    """Return a predictor of the same network for a number of passes."""
    if passes is None or "iterations" not in predictor.model.capabilities:
        return predictor
    return Predictor(predictor.model, iterations=passes, shared=True)


def _run(predictor: Predictor, image: Tensor, last: bool = False) -> list[PassView]:
    """Run all passes; with ``last`` keep the last alone."""
    jobs.report(None, "running the passes")
    views = []
    for maps in predictor.run(image, all_passes=not last, probabilities=True, gates=True):
        assert maps.probabilities is not None
        moved = None if maps.instability is None else maps.instability.half().cpu().numpy()
        gates = {name: gate.cpu().numpy() for name, gate in maps.gates.items()}
        confidence = maps.probabilities.amax(0).half().cpu().numpy()
        views.append(PassView(maps.classes.cpu().numpy(), confidence, moved, gates))
    return views


def passes_view(loaded: Loaded, exploration: Exploration, number: int) -> str:
    """Return the HTML of a pass, numbered from 1: its prediction, its changes, and each gate with its own scale."""
    model = loaded.semantic().model
    one, image = exploration.passes[number - 1], exploration.image
    caption = f"pass {number} of {len(exploration.passes)}"
    figures = [
        markup.figure(
            overlay_layers(image, one.classes, model.palette, model.class_names),
            f"{caption}: mean confidence {one.confidence.mean(dtype=np.float32):.3f}",
        )
    ]
    if number > 1:
        before = exploration.passes[number - 2].classes
        figures.append(_changes(image, before, one.classes, f"changed by pass {number}"))
    if one.instability is not None:
        figures.append(markup.map_figure(one.instability.astype(np.float32), "instability"))
    figures += [markup.map_figure(exploration.gate(number, name), name) for name in one.gates]
    parts = [markup.grid(figures)]
    if not exploration.gate_names:
        parts.append(markup.note(f"{exploration.model} has no gates: it is one of the baselines."))
    elif not one.gates:
        parts.append(markup.note("No gate works in this pass: gates are computed from the maps of the pass before."))
    return "".join(parts)


def closed_view(loaded: Loaded, exploration: Exploration) -> str:
    """Return the HTML of the prediction with closed gates beside what that changes; "" if none is closed."""
    if exploration.without is None:
        return ""
    model, image = loaded.semantic().model, exploration.image
    last, without = exploration.passes[-1], exploration.without
    names = ", ".join(exploration.closed)
    drawn = overlay_layers(image, without.classes, model.palette, model.class_names)
    return markup.grid(
        [
            markup.figure(drawn, f"{names} closed: mean confidence {without.confidence.mean(dtype=np.float32):.3f}"),
            _changes(image, last.classes, without.classes, f"changed by closing {names}"),
        ]
    )


def pixel_view(loaded: Loaded, exploration: Exploration, x: int, y: int) -> str:
    """Return the HTML of what every pass and gate says about a pixel.

    Args:
        loaded: the network.
        exploration: of the image.
        x, y: column and row of the pixel, from 0.

    Raises:
        ValueError: there is no such pixel.
    """
    height, width = exploration.image.shape[-2:]
    if not (0 <= x < width and 0 <= y < height):
        raise ValueError(f"a pixel must be in 0 .. {width - 1}, 0 .. {height - 1}; got {x}, {y}: choose another")
    rows = []
    for number in range(1, len(exploration.passes) + 1):
        rows.append(_pixel_row(f"pass {number}", exploration, exploration.passes[number - 1], x, y, loaded))
        one = exploration.passes[number - 1]
        rows[-1] += [
            f"{exploration.gate(number, name)[y, x]:.3f}" if name in one.gates else ""
            for name in exploration.gate_names
        ]
    if exploration.without is not None:
        row = _pixel_row(f"{', '.join(exploration.closed)} closed", exploration, exploration.without, x, y, loaded)
        rows.append(row + ["0.000" if name in exploration.closed else "" for name in exploration.gate_names])
    header = [f"x {x}, y {y}", "class", "confidence", "instability", *exploration.gate_names]
    return markup.table(header, rows)


def _pixel_row(title: str, exploration: Exploration, one: PassView, x: int, y: int, loaded: Loaded) -> list[str]:
    """Return the name, the class, its confidence and the instability of a pixel as texts."""
    names: Sequence[str] = loaded.predictor.model.class_names
    moved = "" if one.instability is None else f"{one.instability[y, x]:.3f}"
    return [title, names[int(one.classes[y, x])], f"{one.confidence[y, x]:.3f}", moved]


def _changes(image: Tensor, before: np.ndarray, after: np.ndarray, title: str) -> str:
    """Return a figure of the pixels that changed, over the pale image."""
    changed = before != after
    caption = f"{title}: {changed.mean():.2%} of the pixels"
    return markup.figure(markup.img(highlight(fade(to_pil(image)), changed, HIGHLIGHT_COLOR), caption), caption)
