"""Predict the instances of images: boxes, names, scores and masks."""

from __future__ import annotations

from typing import Any

import torch

from ..segmenters.instance import Instances, InstanceSegmenter
from ..utils.devices import resolve_device
from ..utils.image_tensors import to_image_tensor
from ..utils.modules import copy_for_inference
from ..utils.parallel import read_ahead
from .folding import prepare_for_inference
from .image_files import error_context
from .inputs import check_model, iter_images, trained_image_max

# Instances with a lower score are not drawn or written unless a lower threshold is given.
SCORE_THRESHOLD = 0.5


class InstancePredictor:
    """Predict the instances of images, with a network that is prepared once.

    As with :class:`gatezoo.Predictor`, the caller's network is not changed, later changes of it do not reach the
    predictor, and several threads can use one predictor.

    Args:
        model: an instance segmentation network.
        device: that it runs on, such as "auto" or "cuda:1"; default: where the network is.
        score_threshold: lowest score of an instance; None for the network's own.
        max_detections: largest number of instances of an image; default: the network's own.
        image_max: value of full brightness in image files; default: that of the data which the network was trained on.

    Raises:
        ValueError: the network has another task, or an argument is out of range.
    """

    def __init__(
        self,
        model: InstanceSegmenter,
        device: str | torch.device | None = None,
        *,
        score_threshold: float | None = SCORE_THRESHOLD,
        max_detections: int | None = None,
        image_max: float | None = None,
    ):
        check_model(model, "instance", "use gatezoo.predict")
        self.device = next(model.parameters()).device if device is None else resolve_device(device)
        # A copy in any case, since limits are set on it.
        prepare = copy_for_inference if model.prepared else prepare_for_inference
        self.model = prepare(model, self.device)
        self.image_max = trained_image_max(model) if image_max is None else image_max
        if score_threshold is not None:
            self.model.score_threshold = score_threshold
        if max_detections is not None:
            self.model.max_detections = max_detections

    def predict(self, x: Any) -> Instances:
        """Predict the instances of one image; see :func:`predict_instances`."""
        with error_context(x):
            return self.instances_of(self.read(x))

    def read(self, x: Any) -> torch.Tensor:
        """Return an image of any kind as a tensor (C, H, W), values in 0 .. 255; errors as of :meth:`predict`."""
        with error_context(x):
            return to_image_tensor(x, self.model.in_chans, self.image_max)

    def instances_of(self, image: torch.Tensor) -> Instances:
        """Predict the instances of an image (C, H, W), values in 0 .. 255; see :func:`predict_instances`."""
        found, names = self.run(image), self.model.class_names
        found = {key: value.cpu() for key, value in found.items()}
        return {**found, "names": [names[label] for label in found["labels"]]}

    @torch.inference_mode()
    def run(self, image: torch.Tensor) -> Instances:
        """Find the instances of an image (C, H, W), values in 0 .. 255, on the device."""
        (found,) = self.model([image.to(self.device) / 255])
        return found


def predict_instances(
    model: InstanceSegmenter,
    x: Any,
    device: str | torch.device | None = None,
    score_threshold: float | None = None,
    max_detections: int | None = None,
) -> Instances | list[Any]:
    """Predict the instances of an image, highest score first, at the image's own size.

    Args:
        model: an instance segmentation network; it is not changed.
        x: as in :func:`gatezoo.predict`: one image of any kind, or a folder, a list or a batch.
        device: that it runs on, such as "auto" or "cuda:1"; default: where the network is.
        score_threshold, max_detections: lowest score, and largest number of instances per image; default: .5, and the
            network's own number.

    Returns:
        A dict on the CPU, or a list of them: boxes (N, 4) x1 y1 x2 y2, labels (N,), scores (N,), names (their
        classes) and masks, a :class:`gatezoo.segmenters.roi_masks.RoIMasks`: ``masks >= 0.5`` is (N, 1, H, W) of bool.

    Raises:
        ValueError: the network has another task, or ``x`` is not an image.
    """
    threshold = SCORE_THRESHOLD if score_threshold is None else score_threshold
    predictor = InstancePredictor(model, device, score_threshold=threshold, max_detections=max_detections)
    images, single = iter_images(x)
    results = []
    for image, pixels in read_ahead(images, predictor.read):
        with error_context(image):
            results.append(predictor.instances_of(pixels()))
    return results[0] if single else results
