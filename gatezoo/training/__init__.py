"""Train a network: loop, tasks, optimizer, precision, run folder, stages, fine-tuning."""

from .finetune import finetune
from .launch import train_by_name
from .stages import train_stages
from .trainer import Trainer, train

__all__ = [
    "Trainer",
    "finetune",
    "train",
    "train_by_name",
    "train_stages",
]
