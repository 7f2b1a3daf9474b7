"""Metrics accumulated over a data set, on torchmetrics; independent of the number of processes."""

from typing import TYPE_CHECKING

from ..utils.lazy import lazy_exports

if TYPE_CHECKING:
    from .boundary import BoundaryMetric
    from .depth import DepthMetric, DepthResult
    from .detection import InstanceMetric
    from .instance_weighted import InstanceWeightedMetric
    from .segmentation import SegmentationMetric, SegmentationResult, nan_to_none, scores_from_confusion

# Listing models and reading manifests must not import torch.
__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        "BoundaryMetric": "boundary",
        "DepthResult": "depth",
        "DepthMetric": "depth",
        "InstanceMetric": "detection",
        "InstanceWeightedMetric": "instance_weighted",
        "SegmentationResult": "segmentation",
        "SegmentationMetric": "segmentation",
        "scores_from_confusion": "segmentation",
        "nan_to_none": "segmentation",
    },
)

__all__ = [
    "BoundaryMetric",
    "DepthMetric",
    "DepthResult",
    "InstanceMetric",
    "InstanceWeightedMetric",
    "SegmentationMetric",
    "SegmentationResult",
    "nan_to_none",
    "scores_from_confusion",
]
