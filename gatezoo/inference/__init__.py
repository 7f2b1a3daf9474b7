"""Run a network on images: input preparation, inference modes, iterations, gate maps, output files."""

from .gate_maps import GateMaps
from .modes import Inference, MultiScale, SlidingWindow, Whole, choose_mode

__all__ = [
    "GateMaps",
    "Inference",
    "MultiScale",
    "SlidingWindow",
    "Whole",
    "choose_mode",
]
