"""Metrics of label maps over a whole data set, on torchmetrics' confusion matrix."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor
from torchmetrics.classification import MulticlassConfusionMatrix

from .depth import DepthResult

# Pixels that are counted at once: torchmetrics makes several 64-bit copies of them.
_CHUNK_SIZE = 1 << 22


@dataclass(frozen=True)
class SegmentationResult:
    """Metrics of one evaluation; shares are in 0 .. 1.

    Attributes:
        miou: mean of intersection / union over the classes that occur in the labels or the predictions.
        pixel_accuracy: share of labeled pixels that are correct.
        mean_accuracy: mean over the classes that occur in the labels of the share of their pixels that are correct.
        iou: of each class; NaN for an absent one.
        absent: number of classes that occur neither in the labels nor in the predictions, and are left out of the mean.
        weighted_iou: frequency-weighted IoU, sum over the classes of (share of the labeled pixels) x IoU.
        boundary_f: mean boundary F-score, see :class:`~gatezoo.metrics.boundary.BoundaryMetric`; None if not asked for.
        boundary_f_by_class: of each class; NaN for one without contours.
        iiou: mean instance-weighted IoU, see :class:`~gatezoo.metrics.instance_weighted.InstanceWeightedMetric`;
            None without instance ids.
        iiou_by_class: of each class; NaN for one without instances.
        depth: metrics of predicted depth, see :class:`~gatezoo.metrics.depth.DepthResult`; None without depth.
    """

    miou: float
    pixel_accuracy: float
    mean_accuracy: float
    iou: list[float]
    absent: int
    weighted_iou: float
    boundary_f: float | None = None
    boundary_f_by_class: list[float] | None = None
    iiou: float | None = None
    iiou_by_class: list[float] | None = None
    depth: DepthResult | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the metrics that were computed, ready for JSON: None for NaN."""
        return {key: nan_to_none(value) for key, value in asdict(self).items() if value is not None}


def nan_to_none(value: Any) -> Any:
    """Replace NaN, which JSON does not have, by None in a number or in nested lists and dicts of numbers."""
    if isinstance(value, dict):
        return {key: nan_to_none(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [nan_to_none(item) for item in value]
    return None if isinstance(value, float) and math.isnan(value) else value


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


class SegmentationMetric:
    """Accumulator of a confusion matrix over images of any size, and over processes.

    Args:
        num_classes: K.
        ignore_index: label that does not count.
        device: of the label maps.
    """

    def __init__(self, num_classes: int, ignore_index: int = 255, device: str | torch.device = "cpu"):
        self.num_classes, self.ignore_index = num_classes, ignore_index
        self._confusion = MulticlassConfusionMatrix(num_classes, ignore_index=ignore_index, validate_args=False).to(
            device
        )

    def update(self, classes: Tensor, labels: Tensor) -> Tensor:
        """Add predicted classes and labels, both (..., H, W) of integers; return their own confusion matrix (K, K).

        Raises:
            ValueError: the sizes differ, or a label is not one of the classes.
        """
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
        self._confusion.to(classes.device)
        chunks = zip(classes.flatten().split(_CHUNK_SIZE), labels.flatten().split(_CHUNK_SIZE))
        # A call of a torchmetrics metric updates its state and returns the value of the new part alone.
        return torch.stack([self._confusion(*chunk) for chunk in chunks]).sum(0)

    def confusion_matrix(self) -> Tensor:
        """Return n[label, prediction], (K, K) of int64, over all images and processes. Every process must call it."""
        return self._confusion.compute().cpu()

    def compute(self) -> SegmentationResult:
        """Return the metrics of all images so far, of all processes. Every process must call it."""
        return scores_from_confusion(self.confusion_matrix())
