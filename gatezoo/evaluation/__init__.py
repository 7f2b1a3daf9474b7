"""Score a network on a data set and write reports."""

from typing import TYPE_CHECKING

from ..utils.lazy import lazy_exports

if TYPE_CHECKING:
    from .instance import evaluate_instances
    from .loop import check_class_names, default_metrics, evaluate
    from .result import Evaluation, ImageResult

# The command line reads no metrics before it has checked that they are installed.
__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        "Evaluation": "result",
        "ImageResult": "result",
        "check_class_names": "loop",
        "default_metrics": "loop",
        "evaluate": "loop",
        "evaluate_instances": "instance",
    },
)

__all__ = [
    "Evaluation",
    "ImageResult",
    "check_class_names",
    "default_metrics",
    "evaluate",
    "evaluate_instances",
]
