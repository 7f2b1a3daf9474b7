"""Images in, objects out: their boxes, names, scores and masks."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..segmenters.instance import Instances, InstanceSegmenter
from .inputs import error_context, list_images, to_image_tensor

# Below it an object is not drawn or written unless asked for.
THRESHOLD = 0.5


@torch.inference_mode()
def predict_instances(
    model: InstanceSegmenter,
    x: Any,
    device: str | torch.device | None = None,
    score_threshold: float | None = None,
    max_detections: int | None = None,
) -> Instances | list[Instances]:
    """The objects of a image, highest score first, at the image's own size.

    Args:
        model: a network of objects. It is put into evaluation mode.
        x: as of :func:`gatezoo.predict`: one image of any kind, or a folder, a list or a batch.
        device: default: where the network is.
        score_threshold, max_detections: least score, and most objects of a image; default: .5, and the network's.

    Returns:
        A dict on the CPU, or a list of them: boxes (N, 4) x1 y1 x2 y2, labels (N,), scores (N,), names (their
        classes) and masks, a :class:`gatezoo.segmenters.roi_masks.RoIMasks`: ``masks >= 0.5`` is (N, 1, H, W) of bool.

    Raises:
        ValueError: a network of another task, or what is no image.
    """
    model.require_task("instance", "use gatezoo.predict")
    many = None
    if isinstance(x, (str, os.PathLike)) and Path(x).is_dir():
        many = list_images(x)
    elif isinstance(x, (list, tuple)) or (isinstance(x, Tensor) and x.ndim == 4):
        many = list(x)
    if many is not None:
        return [predict_instances(model, item, device, score_threshold, max_detections) for item in many]
    with error_context(x), _limits(model, THRESHOLD if score_threshold is None else score_threshold, max_detections):
        image = to_image_tensor(x, model.in_chans)
        device = torch.device(device) if device else next(model.parameters()).device
        (found,) = model.to(device).eval()([image.to(device) / 255])
    names = model.class_names
    found = {key: value.cpu() for key, value in found.items()}
    return {**found, "names": [names[label] for label in found["labels"]]}


@contextlib.contextmanager
def _limits(model: InstanceSegmenter, threshold: float, most: int | None) -> Iterator[None]:
    """Other limits than the network's own, for a while."""
    own = model.score_threshold, model.max_detections
    try:
        model.score_threshold, model.max_detections = threshold, own[1] if most is None else most
        yield
    finally:
        model.score_threshold, model.max_detections = own
