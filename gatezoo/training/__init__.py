"""Train a network: loop, tasks, optimizer, precision, run folder, stages, fine-tuning."""

from .finetune import finetune
from .launch import train_model
from .stages import train_stages
from .trainer import Trainer, train

__all__ = [
    "Trainer",
    "finetune",
    "train",
    "train_model",
    "train_stages",
]
