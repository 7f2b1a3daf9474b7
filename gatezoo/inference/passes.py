"""Predictions of the single passes of unrolled networks."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial

from torch import Tensor
from torchvision.transforms.v2.functional import gaussian_blur

from ..segmenters.base import SemanticSegmenter
from ..segmenters.outputs import SegmenterOutput
from ..segmenters.recurrent import IterativeSegmenter
from .modes import Forward, classes_of_logits

# With iterations="auto": the passes end when one changes at most this share of the pixels, or after so many.
TOLERANCE, MAX_ITERATIONS = 0.005, 10


def with_iterations(model: SemanticSegmenter, iterations: int | None) -> Forward:
    """The network with a number of passes; None for its own.

    Raises:
        ValueError: a number for a network that does not unroll.
    """
    return partial(model, **_passes(model, iterations))


def _passes(model: SemanticSegmenter, iterations: int | None) -> dict[str, int]:
    if iterations is None:
        return {}
    if not isinstance(model, IterativeSegmenter):
        raise ValueError(f"iterations must be of a network that is unrolled; this one has one pass, got {iterations}")
    return {"iterations": iterations}


def outputs_of(
    model: SemanticSegmenter, batch: Tensor, iterations: int | None, given: Mapping[str, Tensor] | None = None
) -> SegmenterOutput:
    """``model.outputs`` with a number of passes, None for its own; ``given`` as of ``model.extra_inputs``."""
    return model.outputs(batch, **_passes(model, iterations), **(given or {}))


def classes_of_passes(
    model: SemanticSegmenter, batch: Tensor, iterations: int | None, given: Mapping[str, Tensor] | None = None
) -> list[Tensor]:
    """The class of every pixel, (B, H, W), after each pass over whole images."""
    return [classes_of_logits(logits) for logits in outputs_of(model, batch, iterations, given).iterations]


def classes_and_metres(
    model: SemanticSegmenter, batch: Tensor, iterations: int | None, given: Mapping[str, Tensor], blur: float
) -> list[Tensor]:
    """The class of every pixel and its depth in metres, each (B, H, W), after the last pass over whole images."""
    outputs = outputs_of(model, batch, iterations, given)
    return [classes_of_logits(outputs.logits), decode_depth(outputs.log_depth[-1], blur)]


def decode_depth(log_depth: Tensor, blur: float = 0.0) -> Tensor:
    """exp, and a Gaussian blur of ``blur`` pixels' standard deviation: (B, H, W) -> (B, H, W), in metres."""
    metres = log_depth.float().exp()
    if not 0 <= blur < math.inf:
        raise ValueError(f"a blur of depth must be a standard deviation in pixels, 0 or more; got {blur}")
    if not blur:
        return metres
    reach = min(math.ceil(3 * blur), *(side - 1 for side in metres.shape[-2:]))
    return gaussian_blur(metres, 2 * reach + 1, blur)


def iterate_until_stable(model: SemanticSegmenter, batch: Tensor, tolerance: float, most: int) -> list[Tensor]:
    """The class of every pixel, (B, H, W), after each pass, until the share of pixels that the last pass changed is at
    most ``tolerance`` in every image of the batch, or ``most`` passes are done.

    Raises:
        ValueError: a network that is not unrolled in whole passes, or a tolerance or number that is none.
    """
    if not (isinstance(model, IterativeSegmenter) and model.supports_anytime):
        raise ValueError("iterations='auto' needs a network that is unrolled in whole passes; this one is not")
    if not 0 <= tolerance < 1 or most < 1:
        raise ValueError(f"tolerance must be in 0 .. 1 and the number of passes at least 1; got {tolerance}, {most}")
    maps: list[Tensor] = []
    for logits in model.iterate(batch, most):
        maps.append(classes_of_logits(logits))
        if len(maps) > 1 and (maps[-1] != maps[-2]).flatten(1).float().mean(1).max() <= tolerance:
            break
    return maps
