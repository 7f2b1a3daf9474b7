"""Score a network on a data set and write reports."""

from typing import TYPE_CHECKING

from ..utils.lazy import lazy_exports
from ..utils.optional import require_extra

if TYPE_CHECKING:
    from .instance import evaluate_instances
    from .semantic import Evaluation, ImageResult, check_class_names, evaluate, evaluate_in_detail, evaluate_passes

# A command that evaluates says so before it reads anything.
require_extra("train", "evaluation", "torchmetrics", "scipy")

# Evaluating a semantic segmentation network does not import the metrics of instances.
__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        "Evaluation": "semantic",
        "ImageResult": "semantic",
        "check_class_names": "semantic",
        "evaluate": "semantic",
        "evaluate_in_detail": "semantic",
        "evaluate_instances": "instance",
        "evaluate_passes": "semantic",
    },
)

__all__ = [
    "Evaluation",
    "ImageResult",
    "check_class_names",
    "evaluate",
    "evaluate_in_detail",
    "evaluate_instances",
    "evaluate_passes",
]
