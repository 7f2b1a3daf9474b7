"""Run a network on images: input preparation, inference modes, iterations, gate maps, output files."""

from .ablation import ablate_gate
from .gate_maps import GateMaps, compute_gate_maps
from .instance import InstancePredictor, predict_instances
from .instance_files import InstanceWriter
from .modes import InferenceMode, MultiScale, SlidingWindow, WholeImage
from .padding import PadTo, make_inference_mode
from .prediction import PassMaps, Prediction
from .predictor import Predictor
from .semantic import predict, predict_iterations
from .semantic_files import SemanticWriter
from .submissions import SUBMISSIONS, write_submission
from .writers import PredictionFiles, write_predictions

__all__ = [
    "SUBMISSIONS",
    "GateMaps",
    "InferenceMode",
    "InstancePredictor",
    "InstanceWriter",
    "MultiScale",
    "PadTo",
    "PassMaps",
    "Prediction",
    "PredictionFiles",
    "Predictor",
    "SemanticWriter",
    "SlidingWindow",
    "WholeImage",
    "ablate_gate",
    "compute_gate_maps",
    "make_inference_mode",
    "predict",
    "predict_instances",
    "predict_iterations",
    "write_predictions",
    "write_submission",
]
