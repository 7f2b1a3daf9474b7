"""Collect everything that a training needs to be continued, and put it back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from accelerate.utils import gather_object
from torch import nn

from ..utils.text import first_line
from .identity import check_identity
from .messages import log_info

if TYPE_CHECKING:
    from .trainer import Trainer

_KEYS = {"model", "optimizer", "ema_model", "scaler", "rng", "step", "skipped", "loss_ema", "history", "identity"}


def collect_state(trainer: Trainer) -> dict[str, Any]:
    """Return the state of a training after a step. Every process must call it; the first one's is to be saved."""
    return {
        "model": trainer.model.state_dict(),
        "optimizer": trainer.optimizer.state_dict(),
        "ema_model": trainer.ema_model.state_dict() if trainer.ema_model else None,
        "scaler": trainer.scaler.state_dict(),
        "rng": gather_object([torch.get_rng_state()]),
        "step": trainer.step,
        "skipped": trainer.skipped,
        "loss_ema": trainer.loss_ema,
        "history": trainer.history,
        "identity": trainer.identity,
    }


def restore_state(trainer: Trainer, state: dict[str, Any], with_changes: bool) -> None:
    """Put a trainer back to where :func:`collect_state` saw it.

    Args:
        trainer: that has not trained yet.
        state: that was saved.
        with_changes: go on although recipe or data are others than those of the state.

    Raises:
        ValueError: the state is that of another training.
    """
    path, steps = trainer.folder.state_path, trainer.recipe.steps
    if missing := _KEYS - state.keys():
        raise ValueError(f"resume must find the state of a training; {path} lacks {', '.join(sorted(missing))}")
    saved, present = (
        {key: value.shape for key, value in tensors.items()} for tensors in (state["model"], trainer.model.state_dict())
    )
    if saved != present:
        raise ValueError(
            f"resume must continue with the network of {path}; this is another: pass the same model, keywords and "
            "classes"
        )
    if changes := check_identity(state["identity"], trainer.identity, with_changes):
        log_info(f"resuming with changes: {', '.join(changes)}")
    if state["step"] > steps:
        raise ValueError(f"steps must be at least the {state['step']} that {path} has done; got {steps}")
    try:
        trainer.model.load_state_dict(state["model"])
        groups = [{**group} for group in trainer.optimizer.param_groups]
        trainer.optimizer.load_state_dict(state["optimizer"])
        for restored, group in zip(trainer.optimizer.param_groups, groups if changes else (), strict=False):
            restored.update(group)  # such as another weight decay
        if trainer.ema_model:
            trainer.ema_model.load_state_dict(state["ema_model"])
        if trainer.scaler.is_enabled() and state["scaler"]:
            trainer.scaler.load_state_dict(state["scaler"])
    except (RuntimeError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"resume must continue the training of {path}; this is another: {first_line(error)}") from None
    trainer.step, trainer.skipped, trainer.loss_ema = state["step"], state["skipped"], state["loss_ema"]
    trainer.history = state["history"]
    if len(state["rng"]) == trainer.accelerator.num_processes:
        trainer.rng = state["rng"][trainer.accelerator.process_index]


def check_weights(model: nn.Module) -> None:
    """Raise ValueError, naming the first of them, if weights are infinite or not numbers."""
    for name, value in model.state_dict().items():
        if value.is_floating_point() and not value.isfinite().all():
            raise ValueError(
                f"weights to train from must be finite; {name} holds NaN or infinity: start from other weights"
            )
