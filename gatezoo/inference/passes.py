"""Combine and decode the outputs of the passes of a network."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping
from typing import Any, Literal

import torch
from torch import Tensor
from torchvision.transforms.v2.functional import gaussian_blur

from ..layers.resize import resize_to
from ..segmenters.base import SemanticSegmenter
from ..segmenters.outputs import PassOutput
from ..segmenters.recurrent import check_iterations
from ..utils.choices import check_choice
from ..utils.keyword_types import check_keyword
from .modes import classes_of_logits, softmax_of
from .prediction import PassMaps

# With iterations="auto" a network stops as soon as an iteration changes at most this share of the pixels, or after
# this number of iterations.
TOLERANCE, MAX_ITERATIONS = 0.005, 10

Iterations = int | Literal["auto"] | None


def iteration_kwargs(model: SemanticSegmenter, iterations: Iterations) -> dict[str, int]:
    """Return the keywords of a call for a number of iterations: none for None, the network's own number.

    Raises:
        ValueError: a number of passes out of bounds, iterations for a network that has one pass, or "auto" for one
            whose passes are not predictions of the whole network.
    """
    if iterations is None:
        return {}
    if iterations == "auto" and "anytime" not in model.capabilities:
        raise ValueError("iterations='auto' requires a network that is unrolled in whole passes: pass a number instead")
    if "iterations" not in model.capabilities:
        raise ValueError(
            f"iterations requires a network that is unrolled; this one has one pass, got {iterations}: leave it out"
        )
    return {"iterations": MAX_ITERATIONS if iterations == "auto" else check_iterations(iterations)}


def check_tolerance(tolerance: float) -> float:
    """Return a tolerance of iterations="auto".

    Raises:
        ValueError: it is not in 0 .. 1.
    """
    check_keyword("tolerance", tolerance, float)
    if not 0 <= tolerance < 1:
        raise ValueError(f"tolerance must be a share of the pixels, in 0 .. 1; got {tolerance}: 0.005 is usual")
    return tolerance


def until_stable(maps: Iterator[Any], tolerance: float) -> Iterator[Any]:
    """Yield the maps of each pass until one changes at most the share ``tolerance`` of the pixels.

    Args:
        maps: of each pass, with a label map ``classes``; a pass runs when it is requested.
        tolerance: largest share of changed pixels of a stable prediction.
    """
    before: Tensor | None = None
    for one in maps:
        yield one
        if before is not None and (one.classes != before).float().mean() <= tolerance:
            return
        before = one.classes


class MergedPasses:
    """Merge the probabilities of passes: their mean, or their maximum divided by its sum over the classes.

    Args:
        method: "mean" or "max".

    Raises:
        ValueError: another method.
    """

    def __init__(self, method: str):
        self.method = check_choice("merge", method, ("max", "mean"))
        self._merged: Tensor | None = None

    def update(self, probabilities: Tensor) -> None:
        """Add the probabilities (K, H, W) of a pass."""
        if self._merged is None:
            self._merged = probabilities.clone()
        elif self.method == "max":
            torch.maximum(self._merged, probabilities, out=self._merged)
        else:
            self._merged += probabilities

    def compute(self) -> Tensor:
        """Return the merged probabilities (K, H, W), 1 in sum."""
        assert self._merged is not None
        return self._merged / self._merged.sum(0)


def check_blur(blur: float) -> float:
    """Return a standard deviation in pixels.

    Raises:
        ValueError: it is negative or not finite.
    """
    check_keyword("blur", blur, float)
    if blur < 0:
        raise ValueError(f"blur must be a standard deviation in pixels, 0 or more; got {blur}")
    return blur


def decode_depth(log_depth: Tensor, blur: float = 0.0) -> Tensor:
    """Convert ln of a depth to metres, (B, H, W) -> (B, H, W).

    Args:
        log_depth: natural logarithm of the depth in metres.
        blur: standard deviation, in pixels, of a Gaussian that smooths the depth; 0: none.

    Raises:
        ValueError: blur is negative or not finite.
    """
    depth = log_depth.float().exp()
    if not check_blur(blur):
        return depth
    radius = min(math.ceil(3 * blur), *(side - 1 for side in depth.shape[-2:]))
    return gaussian_blur(depth, 2 * radius + 1, blur)


def maps_of_passes(
    outputs: Iterator[PassOutput], size: torch.Size, wanted: Collection[str], blur: float
) -> Iterator[PassMaps]:
    """Yield the maps of the output of each pass, resized to the image.

    Args:
        outputs: of each pass, for a batch of one; a pass runs when it is requested.
        size: (H, W) of the image.
        wanted: what to compute besides the classes: "probabilities", "depth", "logits", "gates".
        blur: see :func:`decode_depth`.
    """
    with_probabilities = "probabilities" in wanted
    before: Tensor | None = None
    for number, output in enumerate(outputs, start=1):
        logits, resized = output.logits, output.logits.shape[-2:] != size
        probabilities = softmax_of(logits) if with_probabilities or resized else None
        if probabilities is not None:
            probabilities = resize_to(probabilities, size)[0]
        classes = classes_of_logits(logits if probabilities is None else probabilities[None])[0]
        instability = None
        if before is not None and probabilities is not None:
            instability = (probabilities - before).abs_().sum(0) / 2
        before = probabilities if with_probabilities else None
        depth = weights = None
        if "depth" in wanted:
            assert output.log_depth is not None
            assert output.scales is not None
            depth = decode_depth(resize_to(output.log_depth[:, None], size)[:, 0], blur)[0]
            weights = output.scales[0].float()
        kept = resize_to(logits, size)[0] if "logits" in wanted else None
        gates = sorted((output.gates or {}).items()) if "gates" in wanted else ()
        means = {f"G{block}": gate[0].float().mean(0) for block, gate in gates}
        yield PassMaps(classes, before, instability, depth, weights, number, kept, means)


def check_predicts_depth(model: SemanticSegmenter) -> None:
    """Raise ValueError if a network predicts no depth."""
    if not model.predicts_depth:
        raise ValueError(
            f"depth must be predicted by the network; {model.architecture or type(model).__name__} predicts none: "
            "choose a depthgate_* with gate='predicted'"
        )


def check_depth_given(model: SemanticSegmenter, given: bool) -> None:
    """Raise ValueError if a network that takes depth gets none, or another network gets it."""
    if model.takes_depth and not given:
        raise ValueError(
            "depth_map must be given to a network that is gated by the depth of the image; got None: pass the depth in "
            "metres (--depth-map)"
        )
    if given and not model.takes_depth:
        raise ValueError("depth_map must be left out: only networks with gate='given' take the depth of the image")


def depth_kwargs(
    model: SemanticSegmenter, depth_map: Tensor | None, image: Tensor, device: torch.device
) -> Mapping[str, Tensor]:
    """Return the keywords of a call for the depth of an image: none for networks that do not take it.

    Args:
        model: a semantic segmentation network.
        depth_map: (H, W), in metres; None for none.
        image: (C, H, W).
        device: of the network.

    Raises:
        ValueError: a network that takes depth without one, another network with one, or a wrong size.
    """
    check_depth_given(model, depth_map is not None)
    if depth_map is None:
        return {}
    if depth_map.shape != image.shape[-2:]:
        raise ValueError(
            f"depth_map must have the size of its image, {tuple(image.shape[-2:])}; got {tuple(depth_map.shape)}"
        )
    return model.extra_inputs({"depth": depth_map[None].to(device)})
