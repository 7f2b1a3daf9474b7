"""Options of a training run."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Literal


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
