"""Run a network on images: input preparation, inference modes, iterations, gate maps, output files."""

from .depth import DepthPrediction
from .gate_maps import GateMaps, ablate_gate, compute_gate_maps
from .instance import predict_instances
from .modes import InferenceMode, MultiScale, SlidingWindow, WholeImage, make_inference_mode
from .semantic import predict, predict_iterations
from .writers import PredictionFiles, predict_files, predict_instance_files

__all__ = [
    "DepthPrediction",
    "GateMaps",
    "InferenceMode",
    "MultiScale",
    "PredictionFiles",
    "SlidingWindow",
    "WholeImage",
    "ablate_gate",
    "compute_gate_maps",
    "make_inference_mode",
    "predict",
    "predict_files",
    "predict_instance_files",
    "predict_instances",
    "predict_iterations",
]
