"""Depth beside the classes, of networks that predict both."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch

from ..layers.resize import resize_to
from ..segmenters.base import SemanticSegmenter
from .inputs import error_context, to_batch, to_image_tensor
from .modes import InferenceMode, MultiScale, WholeImage, classes_of_logits, scaled, softmax_of
from .passes import MAX_ITERATIONS, TOLERANCE, decode_depth, iterate_until_stable, outputs_of


@torch.inference_mode()
def depth_passes(
    model: SemanticSegmenter,
    x: Any,
    iterations: int | Literal["auto"] | None = None,
    device: str | torch.device | None = None,
    tolerance: float = TOLERANCE,
    blur: float = 0.0,
    mode: InferenceMode | None = None,
) -> list[DepthPrediction]:
    """As :func:`predict` with depth for one image: classes, depth and scales of every pass, the last one last."""
    scale = check_depth(model, mode)
    with error_context(x):
        batch = to_batch(model, to_image_tensor(x, model.in_chans), device)
        size, seen = batch.shape[-2:], scaled(batch, scale)
        if iterations == "auto":
            iterations = len(iterate_until_stable(model, seen, tolerance, MAX_ITERATIONS))
        outputs = outputs_of(model, seen, iterations)
        parts = zip(outputs.iterations, outputs.log_depth, outputs.scales, strict=True)
        return [
            DepthPrediction(
                classes_of_logits(logits if seen is batch else resize_to(softmax_of(logits), size))[0].cpu().numpy(),
                decode_depth(resize_to(log_depth[:, None], size)[:, 0], blur)[0].cpu().numpy(),
                weights[0].float().cpu().numpy(),
            )
            for logits, log_depth, weights in parts
        ]


def check_depth(model: SemanticSegmenter, mode: InferenceMode | None) -> float:
    """The scale of the image that depth is predicted at.

    Raises:
        ValueError: a network that predicts no depth, or a mode that is not of whole images at one scale.
    """
    if not model.predicts_depth:
        raise ValueError(
            f"depth must be predicted by the network; {model.architecture or type(model).__name__} predicts none: "
            "choose a depthgate_* with gate='predicted'"
        )
    if mode in (None, WholeImage()):
        return 1.0
    if isinstance(mode, MultiScale) and mode == MultiScale(mode.scales[:1], flip=False):
        return mode.scales[0]
    raise ValueError(f"depth is predicted from whole images; got {mode}: leave out the mode, or tell one scale alone")


@dataclass(frozen=True)
class DepthPrediction:
    """What one pass made of a image: classes (H, W), depth in metres (H, W), weights of the scales (S, h, w)."""

    classes: np.ndarray
    metres: np.ndarray
    weights: np.ndarray
