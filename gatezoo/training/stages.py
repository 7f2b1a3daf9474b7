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
from .options import ModelSource, RunOptions


def train_stages(
    source: ModelSource,
    stages: Sequence[Stage],
    train_data: AnyDataset,
    val_data: AnyDataset,
    options: RunOptions,
    changes: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Train a network in stages, in the folders ``out/1_NAME``, ``out/2_NAME``, ...

    Each stage loads those tensors of the previous stage's last weights that fit, or starts anew if it says so.
    ``resume`` skips finished stages, continues inside the unfinished one, as :func:`gatezoo.training.trainer.train`
    does, and starts those after it: the result is the same.

    Args:
        source: the network; its keywords replace those of every stage, its weights are those of the first.
        stages: in order.
        train_data: images to train on.
        val_data: images to evaluate on.
        options: output folder, device and further options of the run.
        changes: fields that replace those of every stage's recipe.

    Returns:
        The metadata of the last stage's checkpoints.

    Raises:
        ValueError: there is no stage; and all errors of :func:`gatezoo.training.trainer.train`.
    """
    metadata: dict[str, Any] = {}
    origin = source
    for number, (stage, recipe) in enumerate(zip(stages, stage_recipes(stages, changes), strict=True), start=1):
        folder = stage_folder(options.out, number, stage)
        last = folder / "last.safetensors"
        metadata = checkpoint_metadata(last) if options.resume and os.path.exists(last) else {}
        if metadata.get("step") == recipe.steps:
            log_info(f"stage {number}, {stage.name}: done")
        else:
            log_info(f"stage {number}, {stage.name}: {recipe.steps} steps")
            if stage.initial_weights:
                backbone = origin.pretrained_backbone if stage.initial_weights == "imagenet" else None
                source = dataclasses.replace(
                    origin, pretrained=False, pretrained_backbone=backbone, initial_checkpoint=None
                )
            network = dataclasses.replace(source, model_kwargs={**stage.model_kwargs, **source.model_kwargs})
            resume = "auto" if options.resume and number > 1 else options.resume
            run = dataclasses.replace(options, out=folder, resume=resume)
            metadata = train_model(network, train_data, val_data, recipe, run)
        # The weights of the next stage are those of this one.
        source = ModelSource(source.name, False, None, last, source.model_kwargs, source.freeze_bn)
    return metadata


def stage_folder(out: str | os.PathLike, number: int, stage: Stage) -> Path:
    """Return the folder of a stage, numbered from 1."""
    return Path(out) / f"{number}_{stage.name}"


def stage_recipes(stages: Sequence[Stage], changes: Mapping[str, Any] | None = None) -> list[Recipe]:
    """Return the recipe of each stage with the same fields replaced.

    Raises:
        ValueError: there is no stage, or a value that one of the recipes refuses.
    """
    if not stages:
        raise ValueError("a training in stages must have at least one; got none: use train_model")
    return [Recipe.from_dict(dataclasses.asdict(stage.recipe) | dict(changes or {})) for stage in stages]
