"""How well the contours of the classes are drawn."""

from __future__ import annotations

import math

import numpy as np
import torch
from scipy.spatial import cKDTree
from torch import Tensor

from .sums import SumStates

# Share of the image's diagonal, as Csurka et al. have it.
TOLERANCE = 0.0075


class BoundaryMetric:
    """Boundary F-score (Csurka et al., "What is a good evaluation measure for semantic segmentation?", BMVC 2013).

    Of image i and class c, with the contours P (predicted) and L (labelled) and a tolerance of t pixels::

        precision = share of P within t of L      recall = share of L within t of P
        F_ic = 2 precision recall / (precision + recall)
        F_c = mean of F_ic over the images in which P or L is not empty
        score = mean of F_c over the classes that have one

    An F with one empty contour is 0. **[choice]** A contour is the pixels of a class that touch another class above,
    below, left or right; the image's frame is none. What the labels ignore is ignored in the prediction too, and the
    edge of it is a contour of both.

    Args:
        num_classes: K.
        tolerance: as a share of the image's diagonal.
        ignore_index: label that does not count.
        device: where a group of processes shares its sums.

    Raises:
        ValueError: a tolerance that is not in 0 .. 1.
    """

    def __init__(
        self,
        num_classes: int,
        tolerance: float = TOLERANCE,
        ignore_index: int = 255,
        device: str | torch.device = "cpu",
    ):
        if not 0 < tolerance < 1:
            raise ValueError(
                f"tolerance must be a share of the diagonal, above 0 and below 1; got {tolerance}: {TOLERANCE} is usual"
            )
        self.num_classes, self.tolerance, self.ignore_index = num_classes, tolerance, ignore_index
        self._totals = SumStates({"scores": num_classes, "images": num_classes}, device)

    def update(self, classes: Tensor, labels: Tensor) -> None:
        """Predicted classes and labels of one image, both (H, W) of integers."""
        drawn, wanted = classes.cpu().numpy(), labels.cpu().numpy()
        drawn = np.where(wanted == self.ignore_index, wanted, drawn)
        reach = self.tolerance * math.hypot(*wanted.shape)
        scores, images = torch.zeros(self.num_classes), torch.zeros(self.num_classes)
        for number in set(np.union1d(drawn, wanted).tolist()) - {self.ignore_index}:
            predicted, labelled = contour(drawn == number), contour(wanted == number)
            if len(predicted) or len(labelled):
                precision, recall = _near(predicted, labelled, reach), _near(labelled, predicted, reach)
                scores[number] = 2 * precision * recall / (precision + recall) if precision + recall else 0.0
                images[number] = 1
        self._totals.update({"scores": scores, "images": images})

    def compute(self) -> tuple[float, list[float]]:
        """The score, and that of each class (NaN for one without any contour). Every process must call it."""
        totals = self._totals.compute()
        by_class = totals["scores"] / totals["images"]
        return by_class[totals["images"] > 0].mean().item(), by_class.tolist()


def contour(mask: np.ndarray) -> np.ndarray:
    """Places (N, 2), row and column, of the pixels of a mask (H, W) that have a neighbour outside it."""
    inside = mask.copy()
    inside[1:] &= mask[:-1]
    inside[:-1] &= mask[1:]
    inside[:, 1:] &= mask[:, :-1]
    inside[:, :-1] &= mask[:, 1:]
    return np.argwhere(mask & ~inside)


def _near(points: np.ndarray, others: np.ndarray, reach: float) -> float:
    """Share of the points that have one of the others within reach."""
    if not (len(points) and len(others)):
        return 0.0
    # The tree's own bound excludes points exactly at it.
    distances, _ = cKDTree(others).query(points, distance_upper_bound=reach * (1 + 1e-9))
    return np.isfinite(distances).mean().item()
