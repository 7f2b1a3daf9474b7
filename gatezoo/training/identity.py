"""Describe what a training learns, so that it is continued with the same recipe, data and network."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..data.create import AnyDataset
from ..recipes.recipe import Recipe
from ..registry import get_model_spec
from ..segmenters.base import BaseSegmenter
from ..utils.parallel import parallel_map
from ..utils.text import shorten

# Fields of a recipe that decide how a training runs, not what it learns.
FREE = (
    *("log_interval", "checkpoint_interval", "eval_interval", "patience"),
    *("grad_checkpointing", "torchcompile", "deterministic"),
)
# What an optimizer's state belongs to.
FIXED = (
    *("opt", "trainable_prefix", "freeze_backbone", "frozen_layers", "layer_decay", "ema_decay"),
    *("model", "num_classes", "in_chans", "model_kwargs"),
)

Identity = dict[str, Any]


def describe_training(
    model: BaseSegmenter, train_data: AnyDataset, val_data: AnyDataset, recipe: Recipe
) -> dict[str, Identity]:
    """Return recipe, network and both data sets of a training as plain data."""
    network: Identity = {"model": model.architecture, "num_classes": model.num_classes, "in_chans": model.in_chans}
    if model.architecture:
        network["model_kwargs"] = get_model_spec(model.architecture).architecture_kwargs(model.model_kwargs)
        network["freeze_bn"] = model.model_kwargs.get("freeze_bn")
    parts = {
        "recipe": {name: value for name, value in dataclasses.asdict(recipe).items() if name not in FREE},
        "network": network,
        "training data": describe_data(train_data),
        "validation data": describe_data(val_data),
    }
    return json.loads(json.dumps(parts, default=str))


def describe_data(data: AnyDataset) -> Identity:
    """Return facts about a data set: number of images, names and sizes of its files, classes, encoding of labels."""
    files = [Path(path) for path in (*getattr(data, "images", ()), *getattr(data, "label_files", ()))]
    for layer in getattr(data, "layers", {}).values():
        files += layer.files
    files += getattr(data, "annotation_files", ())
    if annotations := getattr(data, "annotations", None):
        files.append(annotations.file)
    digest = hashlib.sha256()
    for name, size in zip(files, parallel_map(_size, files), strict=True):
        digest.update(f"{name.name}\0{size}\n".encode("utf-8", "surrogateescape"))
    label_format = getattr(data, "label_format", None)
    return {
        "images": len(data),
        "files": digest.hexdigest()[:16],
        "classes": list(getattr(data, "classes", ())),
        "ignore_index": getattr(data, "ignore_index", None),
        "label_format": label_format.to_dict() if label_format else None,
    }


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:  # reading it will tell
        return -1


def check_identity(saved: Mapping[str, Identity], present: Mapping[str, Identity], with_changes: bool) -> list[str]:
    """Compare a training that is continued with the one that was saved and return the differences.

    Raises:
        ValueError: there are some and ``with_changes`` is not set, or one that cannot be continued with.
    """
    changes, fixed = [], []
    for part, facts in present.items():
        # Fields that are newer than the state had their defaults.
        defaults = json.loads(json.dumps(dataclasses.asdict(Recipe()))) if part == "recipe" else {}
        before = {**defaults, **saved.get(part, {})}
        for name, value in facts.items():
            if (old := before.get(name)) == value:
                continue
            where = f" of the {part}" if part.endswith("data") else ""
            text = f"{name}{where} ({shorten(old)}, now {shorten(value)})"
            changes.append(text)
            if name in FIXED and not (name == "ema_decay" and bool(old) == bool(value)):
                fixed.append(text)
    if fixed:
        raise ValueError(
            f"resume must continue with the same network and optimizer; changed: {', '.join(fixed)}: "
            "start a new training with --initial-checkpoint last.safetensors"
        )
    if changes and not with_changes:
        raise ValueError(
            f"resume must continue the same training; changed: {', '.join(changes)}: change them back, or pass "
            "--resume-with-changes"
        )
    return changes
