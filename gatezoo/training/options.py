"""What a training starts from, and where and how it runs."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from .trackers import check_tracker


@dataclass(frozen=True)
class RunOptions:
    """Where and how a training runs, apart from what it learns.

    Attributes:
        out: folder for checkpoints and logs, see :class:`gatezoo.training.run_folder.RunFolder`.
        device: "auto" (the first of CUDA, MPS and CPU that is there), "cpu", "cuda", "cuda:1", ...
        workers: processes that load images, for each process that trains; 0: none.
        resume: continue the training in ``out``; "auto": if it holds one, else start it.
        resume_with_changes: continue although recipe, data or model are not those the training began with.
        log_with: tracker of Accelerate: "tensorboard", "wandb", ...
    """

    out: str | os.PathLike
    device: str = "auto"
    workers: int = 1
    resume: bool | Literal["auto"] = False
    resume_with_changes: bool = False
    log_with: str | None = None

    def __post_init__(self):
        if self.log_with is not None:
            check_tracker(self.log_with)


@dataclass(frozen=True)
class ModelSource:
    """The network of a training, and the weights that it starts from.

    Attributes:
        name: of the model, as :func:`gatezoo.create_model` takes it.
        pretrained: start from the model's published weights.
        pretrained_backbone: "timm" for timm's published weights of the backbone, or a local file of them.
        initial_checkpoint: a checkpoint of any network of the zoo; its tensors that fit are loaded.
        model_kwargs: further keywords of the model's builder. They are stored in the checkpoint.
        freeze_bn: keep the running statistics of batch norm: those of the backbone, and all of a recurrent network.
    """

    name: str
    pretrained: bool = False
    pretrained_backbone: str | None = None
    initial_checkpoint: str | os.PathLike | None = None
    model_kwargs: Mapping[str, Any] = field(default_factory=dict)
    freeze_bn: bool = True
