"""The network's part of an evaluation: the results of an image, and the protocol by which they came about."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import torch

from ..inference.instance import InstancePredictor
from ..inference.modes import WholeImage
from ..inference.prediction import PassMaps
from ..inference.predictor import LARGE_IMAGE_MODE, MAX_WHOLE_PIXELS, Predictor
from ..segmenters.instance import Instances, InstanceSegmenter
from .result import ImageResult


class SemanticRun:
    """Maps of each image, predicted by a semantic segmentation network.

    Args:
        predictor: of the network.
        outputs: what is needed in addition to classes: "probabilities", "depth", "logits".
        all_iterations: also return the maps of each pass.

    Attributes:
        device: of the results.
        passes: number of results of single passes; 0 unless all are requested.
        results: number of results of an image; that of the whole network is the last.

    Raises:
        ValueError: all iterations are requested, but their number is not fixed.
    """

    def __init__(self, predictor: Predictor, outputs: Collection[str], all_iterations: bool):
        if all_iterations and predictor.iterations == "auto":
            raise ValueError(
                "all_iterations requires one number of iterations for all images; got iterations='auto': pass a number"
            )
        self.predictor, self.device, self.all_iterations = predictor, predictor.device, all_iterations
        self.outputs = {name: name in outputs for name in ("probabilities", "depth", "logits")}
        self.iterations = predictor.iterations or getattr(predictor.model, "iterations", None)
        self.passes = int(self.iterations or 1) if all_iterations else 0
        self.results = self.passes + (predictor.merge is not None) if all_iterations else 1

    def __call__(self, sample: Mapping[str, Any]) -> Sequence[PassMaps]:
        """Return the results of an image."""
        depth_map = sample.get("depth") if self.predictor.model.takes_depth else None
        return self.predictor.run(sample["image"], depth_map, all_passes=self.all_iterations, **self.outputs)

    def protocol(self, images: Sequence[ImageResult]) -> dict[str, Any]:
        """Describe how the images were predicted."""
        mode = str(self.predictor.mode or WholeImage())
        if self.predictor.mode is None and any(image.height * image.width > MAX_WHOLE_PIXELS for image in images):
            mode += f"; above {MAX_WHOLE_PIXELS / 1e6:g} megapixels {LARGE_IMAGE_MODE}"
        protocol = {"mode": mode, "iterations": self.iterations, "precision": "float32"}
        if self.iterations == "auto":
            protocol["tolerance"] = self.predictor.tolerance
            protocol["mean_iterations"] = sum(image.iterations for image in images) / len(images)
        if self.predictor.merge:
            protocol["merge"] = self.predictor.merge
        if self.outputs["depth"]:
            protocol["depth_blur"] = self.predictor.blur
        return protocol


class InstanceRun:
    """Instances of each image, found by an instance segmentation network.

    Args:
        model: the network.
        device: that it runs on; default: where it is.

    Attributes:
        device, passes, results: see :class:`SemanticRun`.
    """

    passes, results = 0, 1

    def __init__(self, model: InstanceSegmenter, device: str | torch.device | None):
        self.predictor = InstancePredictor(model, device, score_threshold=None)
        self.device = self.predictor.device

    def __call__(self, sample: Mapping[str, Any]) -> Sequence[Instances]:
        """Return the result of an image."""
        return [self.predictor.run(sample["image"])]

    def protocol(self, images: Sequence[ImageResult]) -> dict[str, Any]:
        """Describe how the images were predicted."""
        model = self.predictor.model
        limits = {"score_threshold": model.score_threshold, "max_detections": model.max_detections}
        return {"mode": "whole images, COCO's evaluator", "precision": "float32", **limits}
