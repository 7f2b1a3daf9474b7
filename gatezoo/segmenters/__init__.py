"""Network classes: semantic and instance segmentation, feed-forward and unrolled over iterations."""

from .base import BaseSegmenter, SemanticSegmenter
from .depth import DepthSegmenter, RecurrentDepthSegmenter
from .instance import InstanceSegmenter
from .multiscale import DepthMultiScaleSegmenter, MultiScaleSegmenter
from .outputs import PassOutput, SegmenterOutput
from .recurrent import IterativeSegmenter, RecurrentSegmenter
from .segmenter import Segmenter

__all__ = [
    "BaseSegmenter",
    "DepthMultiScaleSegmenter",
    "DepthSegmenter",
    "InstanceSegmenter",
    "IterativeSegmenter",
    "MultiScaleSegmenter",
    "PassOutput",
    "RecurrentDepthSegmenter",
    "RecurrentSegmenter",
    "Segmenter",
    "SegmenterOutput",
    "SemanticSegmenter",
]
