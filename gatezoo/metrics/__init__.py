"""Figures of predictions over a data set, one kind a file, on torchmetrics; the same over several processes."""

from .boundary import BoundaryScores
from .depth import DepthFigures, DepthScores
from .detection import InstanceScores
from .instance_weighted import CITYSCAPES_SIZES, InstanceWeightedScores
from .segmentation import Scores, SegmentationScores, scores_of, without_nan

__all__ = [
    "CITYSCAPES_SIZES",
    "BoundaryScores",
    "DepthFigures",
    "DepthScores",
    "InstanceScores",
    "InstanceWeightedScores",
    "Scores",
    "SegmentationScores",
    "scores_of",
    "without_nan",
]
