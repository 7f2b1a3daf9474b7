"""Run a network on images: input preparation, inference modes, iterations, gate maps, output files."""

from typing import TYPE_CHECKING

from ..utils.lazy import lazy_exports

if TYPE_CHECKING:
    from .ablation import ablate_gate
    from .exported import ExportedSegmenter
    from .gate_maps import GateMaps, compute_gate_maps
    from .instance import InstancePredictor, predict_instances
    from .instance_files import InstanceWriter
    from .modes import InferenceMode, MultiScale, SlidingWindow, WholeImage
    from .onnx_instances import OnnxInstancePredictor
    from .onnx_predictor import OnnxPredictor, OpenVinoPredictor, open_exported
    from .onnx_writer import OnnxWriter
    from .optimizing import optimize
    from .padding import PadTo, make_inference_mode
    from .prediction import PassMaps, Prediction
    from .predictor import Predictor
    from .semantic import predict, predict_iterations
    from .semantic_files import SemanticWriter
    from .submissions import SUBMISSIONS, write_submission
    from .writers import PredictionFiles, write_predictions

# On first use: the files of an exported network are written without torch.
__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        "GateMaps": "gate_maps",
        "InferenceMode": "modes",
        "InstancePredictor": "instance",
        "InstanceWriter": "instance_files",
        "MultiScale": "modes",
        "ExportedSegmenter": "exported",
        "OnnxInstancePredictor": "onnx_instances",
        "OnnxPredictor": "onnx_predictor",
        "OpenVinoPredictor": "onnx_predictor",
        "open_exported": "onnx_predictor",
        "OnnxWriter": "onnx_writer",
        "PadTo": "padding",
        "PassMaps": "prediction",
        "Prediction": "prediction",
        "PredictionFiles": "writers",
        "Predictor": "predictor",
        "SUBMISSIONS": "submissions",
        "SemanticWriter": "semantic_files",
        "SlidingWindow": "modes",
        "WholeImage": "modes",
        "ablate_gate": "ablation",
        "compute_gate_maps": "gate_maps",
        "make_inference_mode": "padding",
        "optimize": "optimizing",
        "predict": "semantic",
        "predict_instances": "instance",
        "predict_iterations": "semantic",
        "write_predictions": "writers",
        "write_submission": "submissions",
    },
)

__all__ = [
    "SUBMISSIONS",
    "ExportedSegmenter",
    "GateMaps",
    "InferenceMode",
    "InstancePredictor",
    "InstanceWriter",
    "MultiScale",
    "OnnxInstancePredictor",
    "OnnxPredictor",
    "OnnxWriter",
    "OpenVinoPredictor",
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
    "open_exported",
    "optimize",
    "predict",
    "predict_instances",
    "predict_iterations",
    "write_predictions",
    "write_submission",
]
