"""Segmentation metrics over a whole data set, on torchmetrics' confusion matrix."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor
from torchmetrics.classification import MulticlassConfusionMatrix


@dataclass(frozen=True)
class Scores:
    """Figures of one evaluation, all in 0 .. 1.

    Attributes:
        miou: mean of intersection / union over the classes that occur in the labels or the predictions.
        pixel_accuracy: share of labelled pixels that are right.
        mean_accuracy: mean over the classes that occur in the labels of the share of their pixels that are right.
        iou: of each class; NaN for an absent one.
        absent: number of classes that neither labels nor predictions hold: left out of the mean, and counted here.
    """

    miou: float
    pixel_accuracy: float
    mean_accuracy: float
    iou: list[float]
    absent: int


class SegmentationScores:
    """Accumulates a confusion matrix over pictures of any size.

    Args:
        num_classes: K.
        ignore_index: label that does not count.
    """

    def __init__(self, num_classes: int, ignore_index: int = 255):
        self._matrix = MulticlassConfusionMatrix(num_classes, ignore_index=ignore_index, validate_args=False)

    def update(self, classes: Tensor, labels: Tensor) -> None:
        """Predicted classes and labels, both (..., H, W) of integers."""
        self._matrix.to(classes.device).update(classes.flatten(), labels.flatten())

    def compute(self) -> Scores:
        matrix = self._matrix.compute().double()
        hits, labelled, predicted = matrix.diag(), matrix.sum(1), matrix.sum(0)
        union = labelled + predicted - hits
        iou = hits / union  # 0 / 0 = NaN marks an absent class
        present = union > 0
        return Scores(
            miou=iou[present].mean().item(),
            pixel_accuracy=(hits.sum() / matrix.sum()).item(),
            mean_accuracy=(hits / labelled)[labelled > 0].mean().item(),
            iou=iou.tolist(),
            absent=int((~present).sum()),
        )
