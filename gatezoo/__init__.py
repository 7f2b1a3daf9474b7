"""Segmentation networks whose information flow is controlled by gates, on any timm backbone.

import gatezoo
model = gatezoo.create_model("dignet_lite0_8s", pretrained=True).eval()
classes = gatezoo.predict(model, "street.jpg")
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from . import models  # noqa: F401 - fills the registry
from .registry import (
    get_pretrained_cfg,
    is_model,
    is_model_pretrained,
    list_models,
    list_modules,
    list_pretrained,
    model_entrypoint,
    register_model,
    split_model_name_tag,
)
from .utils.lazy import lazy_exports

if TYPE_CHECKING:
    from .evaluation.instance import evaluate_instances
    from .evaluation.loop import evaluate
    from .exporting.export import export
    from .factory import create_model, from_pretrained, load_checkpoint
    from .inference.instance import InstancePredictor, predict_instances
    from .inference.optimizing import optimize
    from .inference.predictor import Predictor
    from .inference.semantic import predict
    from .publishing.model_folder import save_pretrained
    from .publishing.publish import push_to_hub
    from .recipes.recipe import Recipe
    from .training.finetune import finetune
    from .training.trainer import train

__version__ = "0.1.0"

# A microscope image of the Data Science Bowl 2018 (CC0), for a first try of the bundled weights.
EXAMPLE_IMAGE = Path(__file__).parent / "bundled/nuclei.jpg"

# Needed only to run a network: the import of the package, lists of models and the command line's help remain fast.
__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        "InstancePredictor": "inference.instance",
        "Predictor": "inference.predictor",
        "Recipe": "recipes.recipe",
        "create_model": "factory",
        "evaluate": "evaluation.loop",
        "evaluate_instances": "evaluation.instance",
        "export": "exporting.export",
        "finetune": "training.finetune",
        "from_pretrained": "factory",
        "load_checkpoint": "factory",
        "optimize": "inference.optimizing",
        "predict": "inference.semantic",
        "predict_instances": "inference.instance",
        "push_to_hub": "publishing.publish",
        "save_pretrained": "publishing.model_folder",
        "train": "training.trainer",
    },
)

__all__ = [
    "EXAMPLE_IMAGE",
    "InstancePredictor",
    "Predictor",
    "Recipe",
    "create_model",
    "evaluate",
    "evaluate_instances",
    "export",
    "finetune",
    "from_pretrained",
    "get_pretrained_cfg",
    "is_model",
    "is_model_pretrained",
    "list_models",
    "list_modules",
    "list_pretrained",
    "load_checkpoint",
    "model_entrypoint",
    "optimize",
    "predict",
    "predict_instances",
    "push_to_hub",
    "register_model",
    "save_pretrained",
    "split_model_name_tag",
    "train",
]
