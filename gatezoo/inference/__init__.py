"""Run a network on images: input preparation, inference modes, iterations, gate maps, output files."""

from .gate_maps import GateMaps
from .modes import InferenceMode, MultiScale, SlidingWindow, WholeImage, make_inference_mode

__all__ = [
    "GateMaps",
    "InferenceMode",
    "MultiScale",
    "SlidingWindow",
    "WholeImage",
    "make_inference_mode",
]
