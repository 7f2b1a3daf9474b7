"""Predict the instances of images: boxes, names, scores and masks."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch

from ..segmenters.instance import Instances, InstanceSegmenter
from .inputs import error_context, expand_images, to_image_tensor

# Instances with a lower score are not drawn or written unless a lower threshold is given.
SCORE_THRESHOLD = 0.5


def predict_instances(
    model: InstanceSegmenter,
    x: Any,
    device: str | torch.device | None = None,
    score_threshold: float | None = None,
    max_detections: int | None = None,
) -> Instances | list[Any]:
    """Predict the instances of an image, highest score first, at the image's own size.

    Args:
        model: an instance segmentation network. It is put into evaluation mode.
        x: as in :func:`gatezoo.predict`: one image of any kind, or a folder, a list or a batch.
        device: default: where the network is.
        score_threshold, max_detections: lowest score, and largest number of instances per image; default: .5, and the
            network's own number.

    Returns:
        A dict on the CPU, or a list of them: boxes (N, 4) x1 y1 x2 y2, labels (N,), scores (N,), names (their
        classes) and masks, a :class:`gatezoo.segmenters.roi_masks.RoIMasks`: ``masks >= 0.5`` is (N, 1, H, W) of bool.

    Raises:
        ValueError: the network has another task, or ``x`` is not an image.
    """
    model.require_task("instance", "use gatezoo.predict")
    images = expand_images(x)
    if images is not None:
        return [predict_instances(model, image, device, score_threshold, max_detections) for image in images]
    return instances_of_image(model, x, device, score_threshold, max_detections)


@torch.inference_mode()
def instances_of_image(
    model: InstanceSegmenter,
    x: Any,
    device: str | torch.device | None = None,
    score_threshold: float | None = None,
    max_detections: int | None = None,
) -> Instances:
    """Predict the instances of one image; the arguments are those of :func:`predict_instances`."""
    threshold = SCORE_THRESHOLD if score_threshold is None else score_threshold
    with error_context(x), _temporary_limits(model, threshold, max_detections):
        image = to_image_tensor(x, model.in_chans)
        device = torch.device(device) if device else next(model.parameters()).device
        (found,) = model.to(device).eval()([image.to(device) / 255])
    names = model.class_names
    found = {key: value.cpu() for key, value in found.items()}
    return {**found, "names": [names[label] for label in found["labels"]]}


@contextlib.contextmanager
def _temporary_limits(model: InstanceSegmenter, score_threshold: float, max_detections: int | None) -> Iterator[None]:
    """Temporarily override score_threshold and max_detections."""
    own = model.score_threshold, model.max_detections
    try:
        model.score_threshold = score_threshold
        model.max_detections = own[1] if max_detections is None else max_detections
        yield
    finally:
        model.score_threshold, model.max_detections = own
