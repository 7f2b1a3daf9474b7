"""Predict depth together with classes, with networks that predict both."""

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


@dataclass(frozen=True)
class DepthPrediction:
    """Prediction of one iteration for an image.

    Attributes:
        classes: label map, (H, W).
        depth: in metres, (H, W) of float32.
        scale_weights: weights of the scales, (S, h, w) of float32, 1 in sum.
    """

    classes: np.ndarray
    depth: np.ndarray
    scale_weights: np.ndarray


@torch.inference_mode()
def predict_depth_iterations(
    model: SemanticSegmenter,
    x: Any,
    iterations: int | Literal["auto"] | None = None,
    device: str | torch.device | None = None,
    tolerance: float = TOLERANCE,
    blur: float = 0.0,
    mode: InferenceMode | None = None,
) -> list[DepthPrediction]:
    """Predict classes, depth and scales of one image after each iteration, the last one last.

    The arguments are those of :func:`gatezoo.predict`.
    """
    scale = check_depth(model, mode)
    with error_context(x):
        batch = to_batch(model, to_image_tensor(x, model.in_chans), device)
        height, width = batch.shape[-2:]
        resized = scaled(batch, scale)
        if iterations == "auto":
            iterations = len(iterate_until_stable(model, resized, tolerance, MAX_ITERATIONS))
        outputs = outputs_of(model, resized, iterations)
        predictions = []
        for logits, log_depth, weights in zip(outputs.iterations, outputs.log_depth, outputs.scales, strict=True):
            if resized is not batch:
                logits = resize_to(softmax_of(logits), (height, width))
            depth = decode_depth(resize_to(log_depth[:, None], (height, width))[:, 0], blur)
            predictions.append(
                DepthPrediction(
                    classes_of_logits(logits)[0].cpu().numpy(),
                    depth[0].cpu().numpy(),
                    weights[0].float().cpu().numpy(),
                )
            )
        return predictions


def check_depth(model: SemanticSegmenter, mode: InferenceMode | None) -> float:
    """Check that a network predicts depth in a mode, and return the scale at which it is shown the image.

    Raises:
        ValueError: the network predicts no depth, or the mode is not whole images at one scale without flips.
    """
    if "depth" not in model.capabilities:
        raise ValueError(
            f"depth must be predicted by the network; {model.architecture or type(model).__name__} predicts none: "
            "choose a depthgate_* with gate='predicted'"
        )
    if mode in (None, WholeImage()):
        return 1.0
    if isinstance(mode, MultiScale) and mode == MultiScale(mode.scales[:1], flip=False):
        return mode.scales[0]
    raise ValueError(f"depth is predicted from whole images; got {mode}: leave out the mode, or pass a single scale")
