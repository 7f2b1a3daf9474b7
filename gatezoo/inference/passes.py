"""Run a network for a number of iterations and decode its outputs."""

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

# With iterations="auto" a network stops as soon as an iteration changes at most this share of the pixels, or after
# this number of iterations.
TOLERANCE, MAX_ITERATIONS = 0.005, 10


def with_iterations(model: SemanticSegmenter, iterations: int | None) -> Forward:
    """Return the network's forward function with a number of iterations; None for its own number.

    Raises:
        ValueError: iterations are given for a network that is not unrolled.
    """
    return partial(model, **_iteration_kwargs(model, iterations))


def _iteration_kwargs(model: SemanticSegmenter, iterations: int | None) -> dict[str, int]:
    if iterations is None:
        return {}
    if "iterations" not in model.capabilities:
        raise ValueError(
            f"iterations requires a network that is unrolled; this one has one pass, got {iterations}: leave it out"
        )
    return {"iterations": iterations}


def outputs_of(
    model: SemanticSegmenter, batch: Tensor, iterations: int | None, extra_inputs: Mapping[str, Tensor] | None = None
) -> SegmenterOutput:
    """Return ``model.outputs`` after a number of iterations, None for the network's own.

    Args:
        model: a semantic segmentation network.
        batch: normalized, (B, C, H, W).
        iterations: of an unrolled network.
        extra_inputs: result of ``model.extra_inputs``.
    """
    return model.outputs(batch, **_iteration_kwargs(model, iterations), **(extra_inputs or {}))


def classes_of_passes(
    model: SemanticSegmenter, batch: Tensor, iterations: int | None, extra_inputs: Mapping[str, Tensor] | None = None
) -> list[Tensor]:
    """Return the label map (B, H, W) after each iteration over whole images; see :func:`outputs_of`."""
    return [classes_of_logits(logits) for logits in outputs_of(model, batch, iterations, extra_inputs).iterations]


def predict_with_depth(
    model: SemanticSegmenter, batch: Tensor, iterations: int | None, extra_inputs: Mapping[str, Tensor], blur: float
) -> tuple[Tensor, Tensor]:
    """Return label map and depth in metres, each (B, H, W), after the last iteration over whole images.

    See :func:`outputs_of` for the arguments, and :func:`decode_depth` for ``blur``.
    """
    outputs = outputs_of(model, batch, iterations, extra_inputs)
    return classes_of_logits(outputs.logits), decode_depth(outputs.log_depth[-1], blur)


def decode_depth(log_depth: Tensor, blur: float = 0.0) -> Tensor:
    """Convert ln of a depth to metres, (B, H, W) -> (B, H, W).

    Args:
        log_depth: natural logarithm of the depth in metres.
        blur: standard deviation, in pixels, of a Gaussian that smooths the depth; 0: none.

    Raises:
        ValueError: blur is negative or not finite.
    """
    depth = log_depth.float().exp()
    if not 0 <= blur < math.inf:
        raise ValueError(f"blur must be a standard deviation in pixels, 0 or more; got {blur}")
    if not blur:
        return depth
    radius = min(math.ceil(3 * blur), *(side - 1 for side in depth.shape[-2:]))
    return gaussian_blur(depth, 2 * radius + 1, blur)


def iterate_until_stable(
    model: SemanticSegmenter, batch: Tensor, tolerance: float, max_iterations: int
) -> list[Tensor]:
    """Iterate until the prediction is stable and return the label map (B, H, W) after each iteration.

    Args:
        model: a semantic segmentation network that is unrolled in whole passes.
        batch: normalized, (B, C, H, W).
        tolerance: the prediction is stable when an iteration changes at most this share of the pixels of every image.
        max_iterations: number of iterations at which to stop in any case.

    Raises:
        ValueError: the network is not unrolled in whole passes, tolerance is not in 0 .. 1, or max_iterations < 1.
    """
    if not (isinstance(model, IterativeSegmenter) and model.supports_anytime):
        raise ValueError("iterations='auto' requires a network that is unrolled in whole passes: pass a number instead")
    if not 0 <= tolerance < 1 or max_iterations < 1:
        raise ValueError(
            f"tolerance must be in 0 .. 1 and the number of iterations at least 1; got {tolerance}, {max_iterations}"
        )
    maps: list[Tensor] = []
    for logits in model.iterate(batch, max_iterations):
        maps.append(classes_of_logits(logits))
        if len(maps) > 1 and (maps[-1] != maps[-2]).flatten(1).float().mean(1).max() <= tolerance:
            break
    return maps
