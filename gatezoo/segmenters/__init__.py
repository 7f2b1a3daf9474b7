"""The network classes that users hold."""

from .base import BaseSegmenter, SemanticSegmenter
from .depth import DepthSegmenter, RecurrentDepthSegmenter
from .instance import InstanceSegmenter
from .multiscale import MultiScaleSegmenter
from .outputs import SegmenterOutput
from .recurrent import IterativeSegmenter, RecurrentSegmenter
from .segmenter import Segmenter

__all__ = [
    "BaseSegmenter",
    "DepthSegmenter",
    "InstanceSegmenter",
    "IterativeSegmenter",
    "MultiScaleSegmenter",
    "RecurrentDepthSegmenter",
    "RecurrentSegmenter",
    "Segmenter",
    "SegmenterOutput",
    "SemanticSegmenter",
]
