"""Train a network: loop, tasks, optimizer, precision, run folder, stages, fine-tuning."""

from .finetune import FinetuneResult, finetune
from .launch import train_model
from .options import RunOptions
from .stages import train_stages
from .trainer import Trainer, train

__all__ = [
    "FinetuneResult",
    "RunOptions",
    "Trainer",
    "finetune",
    "train",
    "train_model",
    "train_stages",
]
