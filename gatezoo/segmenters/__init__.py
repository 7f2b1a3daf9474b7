"""The network classes that users hold."""

from .base import Network, SegmentationModel
from .depth import DepthSegmenter, RecurrentDepthSegmenter
from .instance import InstanceSegmenter
from .multiscale import MultiScaleSegmenter
from .outputs import Outputs
from .recurrent import IterativeSegmenter, RecurrentSegmenter
from .segmenter import Segmenter

__all__ = [
    "DepthSegmenter",
    "InstanceSegmenter",
    "IterativeSegmenter",
    "MultiScaleSegmenter",
    "Network",
    "Outputs",
    "RecurrentDepthSegmenter",
    "RecurrentSegmenter",
    "SegmentationModel",
    "Segmenter",
]
