"""Metrics of label maps over a whole data set, on torchmetrics' confusion matrix."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor
from torchmetrics.classification import MulticlassConfusionMatrix

from .base import Metric

# Pixels that are counted at once: torchmetrics makes several 64-bit copies of them.
_CHUNK_SIZE = 1 << 22


@dataclass(frozen=True)
class SegmentationResult:
    """Metrics of a confusion matrix; shares are in 0 .. 1.

    Attributes:
        miou: mean of intersection / union over the classes that occur in the labels or the predictions.
        pixel_accuracy: share of labeled pixels that are correct.
        mean_accuracy: mean over the classes that occur in the labels of the share of their pixels that are correct.
        iou: of each class; NaN for an absent one.
        absent: number of classes that occur neither in the labels nor in the predictions, and are left out of the mean.
        weighted_iou: frequency-weighted IoU, sum over the classes of (share of the labeled pixels) x IoU.
    """

    miou: float
    pixel_accuracy: float
    mean_accuracy: float
    iou: list[float]
    absent: int
    weighted_iou: float


def scores_from_confusion(confusion_matrix: Tensor) -> SegmentationResult:
    """Compute the metrics of a confusion matrix (K, K), n[label, prediction]; NaN for a mean over nothing."""
    matrix = confusion_matrix.cpu().double()
    hits, labeled, predicted = matrix.diag(), matrix.sum(1), matrix.sum(0)
    union = labeled + predicted - hits
    iou = hits / union  # 0 / 0 = NaN marks an absent class
    present, pixels = union > 0, matrix.sum()
    return SegmentationResult(
        miou=iou[present].mean().item(),
        pixel_accuracy=(hits.sum() / pixels).item(),
        mean_accuracy=(hits / labeled)[labeled > 0].mean().item(),
        iou=iou.tolist(),
        absent=int((~present).sum()),
        weighted_iou=(labeled[present] / pixels * iou[present]).sum().item(),
    )


class SegmentationMetric(Metric):
    """Intersection over union and accuracy, by a confusion matrix: see :class:`SegmentationResult`."""

    def reset(self, device: str | torch.device) -> None:
        self._confusion = MulticlassConfusionMatrix(
            self.num_classes, ignore_index=self.ignore_index, validate_args=False
        ).to(device)

    def update(self, maps: Any, sample: Mapping[str, Any]) -> Tensor:
        """Add predicted classes and labels, both (..., H, W) of integers; return their own confusion matrix (K, K).

        Raises:
            ValueError: the sizes differ, or a label is not one of the classes.
        """
        classes: Tensor = maps.classes
        labels: Tensor = sample["mask"]
        if classes.shape != labels.shape:
            raise ValueError(
                f"labels must have the size of the prediction; got {tuple(labels.shape)} and {tuple(classes.shape)}"
            )
        wrong = (labels != self.ignore_index) & ((labels < 0) | (labels >= self.num_classes))
        if wrong.any():
            raise ValueError(
                f"labels must be 0 .. {self.num_classes - 1} or {self.ignore_index} (ignored); "
                f"got {labels[wrong][0].item()}: set num_classes or ignore_index, or fix the labels"
            )
        chunks = zip(classes.flatten().split(_CHUNK_SIZE), labels.flatten().split(_CHUNK_SIZE))
        # A call of a torchmetrics metric updates its state and returns the value of the new part alone.
        return torch.stack([self._confusion(*chunk) for chunk in chunks]).sum(0)

    def confusion_matrix(self) -> Tensor:
        """Return n[label, prediction], (K, K) of int64, over all images and processes. Every process must call it."""
        return self._confusion.compute().cpu()

    def compute(self) -> dict[str, Any]:
        """Return the fields of a :class:`SegmentationResult` over all images and processes."""
        return asdict(scores_from_confusion(self.confusion_matrix()))
