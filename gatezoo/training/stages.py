"""Trainings in a row, each from the weights of the one before, as one."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..data.base import SegmentationDataset
from ..recipes.experiments import Stage
from ..recipes.recipe import Recipe
from ..weights.checkpoint_files import checkpoint_facts
from .launch import train_model


def train_stages(
    name: str,
    stages: Sequence[Stage],
    train_data: SegmentationDataset,
    val_data: SegmentationDataset,
    out: str | os.PathLike,
    changes: Mapping[str, Any] | None = None,
    model_kwargs: Mapping[str, Any] | None = None,
    pretrained_backbone: str | None = None,
    initial_checkpoint: str | os.PathLike | None = None,
    freeze_bn: bool = True,
    workers: int = 1,
    device: str = "cpu",
    resume: bool = False,
    log_with: str | None = None,
) -> dict[str, Any]:
    """Train a network in stages, in the folders ``out/1_NAME``, ``out/2_NAME``, ...

    A stage takes over what fits of the last weights of the one before. ``resume`` passes over the stages that are
    done and goes on inside the one that is not, as :func:`gatezoo.training.trainer.train` does: the result is the same.

    Args:
        name: of the model; the keywords of its builder are the stage's.
        changes: fields of the recipe that all stages shall have otherwise.
        model_kwargs: keywords of the builder that all stages shall have otherwise.
        pretrained_backbone, initial_checkpoint: what the first stage starts from.

    Returns:
        The header of the last stage's checkpoints.

    Raises:
        ValueError: no stage, and what a training raises.
    """
    if not stages:
        raise ValueError("a training in stages must have one at least; got none")
    previous, facts = initial_checkpoint, {}
    for number, stage in enumerate(stages, start=1):
        folder = Path(out) / f"{number}_{stage.name}"
        recipe = Recipe.from_dict(dataclasses.asdict(stage.recipe) | dict(changes or {}))
        last = folder / "last.safetensors"
        facts = checkpoint_facts(last) if resume and last.exists() else {}
        if facts.get("step") == recipe.steps:
            print(f"stage {number}, {stage.name}: done", flush=True)
        else:
            print(f"stage {number}, {stage.name}: {recipe.steps} steps", flush=True)
            facts = train_model(
                name,
                train_data,
                val_data,
                folder,
                recipe,
                pretrained_backbone=pretrained_backbone if number == 1 else None,
                initial_checkpoint=previous,
                model_kwargs={**stage.model_kwargs, **(model_kwargs or {})},
                freeze_bn=freeze_bn,
                workers=workers,
                device=device,
                resume=resume,
                log_with=log_with,
            )
        previous = last
    return facts
