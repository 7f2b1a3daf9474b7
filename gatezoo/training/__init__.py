"""Train a network: loop, tasks, optimizer, precision, run folder, stages, fine-tuning."""

from ..utils.optional import require_extra

# Before any work, not in the middle of it.
require_extra("train", "training", "accelerate", "torchmetrics", "scipy")

from .finetune import FinetuneResult, finetune  # noqa: E402
from .launch import prepare_model, train_model  # noqa: E402
from .options import ModelSource, RunOptions  # noqa: E402
from .stages import train_stages  # noqa: E402
from .trainer import Trainer, train  # noqa: E402

__all__ = [
    "FinetuneResult",
    "ModelSource",
    "RunOptions",
    "Trainer",
    "finetune",
    "prepare_model",
    "train",
    "train_model",
    "train_stages",
]
