"""Metrics of predictions over a data set, one kind a file, on torchmetrics; the same over several processes."""

from typing import TYPE_CHECKING

from ..utils.lazy import lazy_exports

if TYPE_CHECKING:
    from .boundary import BoundaryScores
    from .depth import DepthFigures, DepthScores
    from .detection import InstanceScores
    from .instance_weighted import InstanceWeightedScores
    from .segmentation import Scores, SegmentationScores, scores_of, without_nan

# Listing models and reading manifests must not import torch.
__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        "BoundaryScores": "boundary",
        "DepthFigures": "depth",
        "DepthScores": "depth",
        "InstanceScores": "detection",
        "InstanceWeightedScores": "instance_weighted",
        "Scores": "segmentation",
        "SegmentationScores": "segmentation",
        "scores_of": "segmentation",
        "without_nan": "segmentation",
    },
)

__all__ = [
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
