"""Train a network in stages, each of which starts from the weights of the one before."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..data.create import AnyDataset
from ..recipes.experiments import Stage
from ..recipes.recipe import Recipe
from ..weights.checkpoint_files import checkpoint_metadata
from .launch import train_model
from .messages import log_info
from .options import RunOptions


def train_stages(
    name: str,
    stages: Sequence[Stage],
    train_data: AnyDataset,
    val_data: AnyDataset,
    options: RunOptions,
    *,
    changes: Mapping[str, Any] | None = None,
    model_kwargs: Mapping[str, Any] | None = None,
    pretrained_backbone: str | None = None,
    initial_checkpoint: str | os.PathLike | None = None,
    freeze_bn: bool = True,
) -> dict[str, Any]:
    """Train a network in stages, in the folders ``out/1_NAME``, ``out/2_NAME``, ...

    Each stage loads those tensors of the previous stage's last weights that fit. ``resume`` skips finished stages and
    continues inside the unfinished one, as :func:`gatezoo.training.trainer.train` does: the result is the same.

    Args:
        name: of the model; the keywords of its builder are the stage's.
        stages: in order.
        train_data: images to train on.
        val_data: images to evaluate on.
        options: output folder, device and further options of the run.
        changes: fields that replace those of every stage's recipe.
        model_kwargs: keywords of the builder that replace those of every stage.
        pretrained_backbone: weights of the backbone that the first stage starts from, see :func:`train_model`.
        initial_checkpoint: checkpoint that the first stage starts from.
        freeze_bn: see :func:`train_model`.

    Returns:
        The metadata of the last stage's checkpoints.

    Raises:
        ValueError: there is no stage; and all errors of :func:`gatezoo.training.trainer.train`.
    """
    if not stages:
        raise ValueError("a training in stages must have at least one; got none: use train_model")
    previous, metadata = initial_checkpoint, {}
    for number, stage in enumerate(stages, start=1):
        folder = Path(options.out) / f"{number}_{stage.name}"
        recipe = Recipe.from_dict(dataclasses.asdict(stage.recipe) | dict(changes or {}))
        last = folder / "last.safetensors"
        resume = "auto" if options.resume and number > 1 else options.resume
        metadata = checkpoint_metadata(last) if options.resume and last.exists() else {}
        if metadata.get("step") == recipe.steps:
            log_info(f"stage {number}, {stage.name}: done")
        else:
            log_info(f"stage {number}, {stage.name}: {recipe.steps} steps")
            metadata = train_model(
                name,
                train_data,
                val_data,
                recipe,
                dataclasses.replace(options, out=folder, resume=resume),
                pretrained_backbone=pretrained_backbone if number == 1 else None,
                initial_checkpoint=previous,
                model_kwargs={**stage.model_kwargs, **(model_kwargs or {})},
                freeze_bn=freeze_bn,
            )
        previous = last
    return metadata
