"""Result of an evaluation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from ..metrics import Scores, SegmentationMetric, scores_from_confusion


@dataclass(frozen=True)
class ImageResult:
    """Metrics of one image, over its labeled pixels.

    Attributes:
        name: of its file; "image N" if the data set has no files.
        height, width: in pixels.
        miou: over the classes in its labels or its prediction.
        pixel_accuracy: share of labeled pixels that are correct.
        labeled, predicted: share of each class in the labels and in the prediction.
        iterations: number of passes that were run.
    """

    name: str
    height: int
    width: int
    miou: float
    pixel_accuracy: float
    labeled: list[float]
    predicted: list[float]
    iterations: int = 1


@dataclass(frozen=True)
class Evaluation:
    """Complete result of one evaluation.

    Attributes:
        scores: of the whole data set, such as ``scores.miou``; the names are those of each metric's ``compute``.
        by_iteration: scores of each pass, first to last; empty unless all iterations are requested.
        protocol: mode, iterations, number of images and precision of the evaluation, and settings of the metrics.
        images: metrics of each image, in the order of the data set; empty for instance segmentation.
        confusion_matrix: n[label, prediction], (K, K) of int64; None for instance segmentation.
    """

    scores: Scores
    by_iteration: list[Scores]
    protocol: dict[str, Any]
    images: list[ImageResult] = field(default_factory=list)
    confusion_matrix: Tensor | None = None

    @property
    def miou(self) -> float:
        """Mean IoU of a semantic segmentation network."""
        return self.scores.miou


class ImageScores(SegmentationMetric):
    """The metrics of a confusion matrix, of all images and of each of them: ``images``."""

    def reset(self, device: str | torch.device) -> None:
        super().reset(device)
        self.images: list[ImageResult] = []

    def update(self, maps: Any, sample: Mapping[str, Any]) -> Tensor:
        """Add the predicted classes and labels of the image whose ``name`` the sample has; return its matrix."""
        matrix = super().update(maps, sample).cpu()
        scores, pixels = scores_from_confusion(matrix), matrix.sum().double()
        height, width = sample["mask"].shape
        self.images.append(
            ImageResult(
                sample["name"],
                height,
                width,
                miou=scores.miou,
                pixel_accuracy=scores.pixel_accuracy,
                labeled=(matrix.sum(1) / pixels).tolist(),
                predicted=(matrix.sum(0) / pixels).tolist(),
                iterations=maps.iterations,
            )
        )
        return matrix
