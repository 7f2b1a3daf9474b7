"""Boundary F-score: the quality of the contours of classes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from scipy.spatial import cKDTree

from .base import Metric
from .sums import SumStates

# Share of the image's diagonal, as in Csurka et al.
TOLERANCE = 0.0075


class BoundaryMetric(Metric):
    """Boundary F-score (Csurka et al., "What is a good evaluation measure for semantic segmentation?", BMVC 2013).

    Of image i and class c, with the contours P (predicted) and L (labeled) and a tolerance of t pixels::

        precision = share of P within t of L      recall = share of L within t of P
        F_ic = 2 precision recall / (precision + recall)
        F_c = mean of F_ic over the images in which P or L is not empty
        score = mean of F_c over the classes that have one

    An F with one empty contour is 0. **[choice]** A contour consists of the pixels of a class that touch another class
    above, below, left or right; the border of the image is no contour. Pixels that the labels ignore are ignored in
    the prediction too, and the edge of an ignored region is a contour of both.

    Args:
        tolerance: as a share of the image's diagonal.

    Raises:
        ValueError: tolerance is not between 0 and 1.
    """

    def __init__(self, tolerance: float = TOLERANCE):
        if not 0 < tolerance < 1:
            raise ValueError(
                f"tolerance must be a share of the diagonal, above 0 and below 1; got {tolerance}: {TOLERANCE} is usual"
            )
        self.tolerance = tolerance

    @property
    def settings(self) -> dict[str, Any]:
        return {"boundary_tolerance": self.tolerance}

    def reset(self, device: str | torch.device) -> None:
        self._sums = SumStates({"scores": self.num_classes, "images": self.num_classes}, device)

    def update(self, maps: Any, sample: Mapping[str, Any]) -> None:
        """Add the predicted classes and labels of one image, both (H, W) of integers."""
        predicted, target = maps.classes.cpu().numpy(), sample["mask"].cpu().numpy()
        predicted = np.where(target == self.ignore_index, target, predicted)
        max_distance = self.tolerance * math.hypot(*target.shape)
        scores, images = torch.zeros(self.num_classes), torch.zeros(self.num_classes)
        for index in set(np.union1d(predicted, target).tolist()) - {self.ignore_index}:
            found, labeled = contour(predicted == index), contour(target == index)
            if len(found) or len(labeled):
                precision = _share_within(found, labeled, max_distance)
                recall = _share_within(labeled, found, max_distance)
                scores[index] = 2 * precision * recall / (precision + recall) if precision + recall else 0.0
                images[index] = 1
        self._sums.update({"scores": scores, "images": images})

    def compute(self) -> dict[str, Any]:
        """Return the score, and that of each class (NaN for one without any contour)."""
        sums = self._sums.compute()
        by_class = sums["scores"] / sums["images"]
        return {"boundary_f": by_class[sums["images"] > 0].mean().item(), "boundary_f_by_class": by_class.tolist()}


def contour(mask: np.ndarray) -> np.ndarray:
    """Return the positions (N, 2), row and column, of the pixels of a mask (H, W) that have a neighbor outside it."""
    inside = mask.copy()
    inside[1:] &= mask[:-1]
    inside[:-1] &= mask[1:]
    inside[:, 1:] &= mask[:, :-1]
    inside[:, :-1] &= mask[:, 1:]
    return np.argwhere(mask & ~inside)


def _share_within(points: np.ndarray, others: np.ndarray, max_distance: float) -> float:
    """Return the share of the points (N, 2) that have one of the others (M, 2) within a distance."""
    if not (len(points) and len(others)):
        return 0.0
    # The tree's own bound excludes points exactly at it.
    distances, _ = cKDTree(others).query(points, distance_upper_bound=max_distance * (1 + 1e-9))
    return np.isfinite(distances).mean().item()
