"""Depth beside the classes, of networks that predict both."""

from __future__ import annotations

from typing import Any, Literal

import torch

from .depth_figure import DepthLook
from .inference import MOST, TOLERANCE, Inference, Whole, classes_of_logits, metres_of, outputs_of, stable_classes
from .inputs import as_picture, naming, prepare
from .segmenter import SegmentationModel


@torch.inference_mode()
def depth_passes(
    model: SegmentationModel,
    x: Any,
    iterations: int | Literal["auto"] | None = None,
    device: str | torch.device | None = None,
    tolerance: float = TOLERANCE,
    blur: float = 0.0,
) -> list[DepthLook]:
    """As :func:`predict` with depth for one picture: classes, depth and scales of every pass, the last one last."""
    check_depth(model, None)
    with naming(x):
        batch = prepare(model, as_picture(x, model.in_chans), device)
        if iterations == "auto":
            iterations = len(stable_classes(model, batch, tolerance, MOST))
        outputs = outputs_of(model, batch, iterations)
        parts = zip(outputs.iterations, outputs.log_depth, outputs.scales, strict=True)
        return [
            DepthLook(
                classes_of_logits(logits)[0].cpu().numpy(),
                metres_of(log_depth, blur)[0].cpu().numpy(),
                weights[0].float().cpu().numpy(),
            )
            for logits, log_depth, weights in parts
        ]


def check_depth(model: SegmentationModel, mode: Inference | None) -> None:
    """Raise ValueError for a network that predicts no depth, or a mode that is not of whole pictures."""
    if not model.predicts_depth:
        raise ValueError(
            f"depth must be predicted by the network; {model.architecture or type(model).__name__} predicts none: "
            "choose a depthgate_* with gate='predicted'"
        )
    if mode not in (None, Whole()):
        raise ValueError(f"depth is predicted from whole pictures; got {mode}: leave out the mode")
