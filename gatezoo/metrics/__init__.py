"""Metrics accumulated over a data set, on torchmetrics; independent of the number of processes."""

from typing import TYPE_CHECKING

from ..utils.lazy import lazy_exports

if TYPE_CHECKING:
    from .base import Metric, Scores, nan_to_none
    from .boundary import BoundaryMetric
    from .calibration import CalibrationMetric
    from .components import ComponentMetric
    from .count import CountMetric
    from .depth import DepthMetric, DepthResult
    from .detection import InstanceMetric
    from .instance_weighted import InstanceWeightedMetric
    from .segmentation import SegmentationMetric, SegmentationResult, scores_from_confusion

# Listing models and reading manifests must not import torch.
__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        "BoundaryMetric": "boundary",
        "CalibrationMetric": "calibration",
        "ComponentMetric": "components",
        "CountMetric": "count",
        "DepthResult": "depth",
        "DepthMetric": "depth",
        "InstanceMetric": "detection",
        "InstanceWeightedMetric": "instance_weighted",
        "Metric": "base",
        "Scores": "base",
        "SegmentationResult": "segmentation",
        "SegmentationMetric": "segmentation",
        "scores_from_confusion": "segmentation",
        "nan_to_none": "base",
    },
)

__all__ = [
    "BoundaryMetric",
    "CalibrationMetric",
    "ComponentMetric",
    "CountMetric",
    "DepthMetric",
    "DepthResult",
    "InstanceMetric",
    "InstanceWeightedMetric",
    "Metric",
    "Scores",
    "SegmentationMetric",
    "SegmentationResult",
    "nan_to_none",
    "scores_from_confusion",
]
