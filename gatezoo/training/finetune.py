"""Fine-tune pretrained weights on a folder of images."""

from __future__ import annotations

import dataclasses
import math
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ..data.base import SegmentationDataset
from ..evaluation.semantic import evaluate
from ..factory import create_model
from ..metrics import SegmentationResult
from ..publishing.model_folder import save_pretrained
from ..recipes.recipe import Recipe
from .launch import _checkpoint_metadata, _set_classes, _set_depth_thresholds
from .trainer import train


@dataclass(frozen=True)
class FinetuneResult:
    """What fine-tuning gave: scores on the held-out images before and after, and the model folder."""

    before: SegmentationResult
    after: SegmentationResult
    seconds: float
    folder: Path


def finetune(
    name: str,
    train_data: SegmentationDataset,
    val_data: SegmentationDataset,
    out: str | os.PathLike,
    recipe: Mapping[str, Any] | None = None,
    epochs: float = 20,
    workers: int = 1,
    device: str = "cpu",
    resume: bool = False,
) -> FinetuneResult:
    """Fit published weights to other images: all is trained on; another number of classes gives a new classifier.

    ``val_data`` tell how well it went and nothing else: no checkpoint is chosen by them, what is kept is the last
    one, as the folder ``out/model`` for ``create_model("local-dir:...")``.

    Args:
        recipe: fields of :class:`gatezoo.recipes.Recipe` that shall be others than here: half the usual rate, the
            crop of the weights, as many steps as ``epochs`` tells.
        epochs: rounds over the training images.
    """
    told = dict(recipe or {})
    began = time.monotonic()
    torch.manual_seed(told.get("seed", 0))
    model = create_model(name, pretrained=True, num_classes=train_data.num_classes, freeze_bn=True)
    model.require_task("semantic", "train objects with 'gatezoo train --pretrained'")
    _set_classes(model, train_data)
    told = {"lr": 0.005, "crop_size": model.pretrained_cfg.recipe.get("crop_size", Recipe.crop_size), **told}
    told.setdefault("batch_size", min(Recipe.batch_size, len(train_data)))
    _set_depth_thresholds(model, train_data)
    told.setdefault("steps", math.ceil(epochs * len(train_data) / told["batch_size"]))
    told = {"eval_interval": told["steps"], "checkpoint_interval": max(1, told["steps"] // 10), **told}
    before = evaluate(model, val_data, device=device)
    about = _checkpoint_metadata(model, train_data)
    train(model, train_data, val_data, out, Recipe.from_dict(told), about, device, workers, resume)
    trained = create_model(model.architecture, checkpoint_path=Path(out) / "last.safetensors")
    after = evaluate(trained, val_data, device=device)
    metrics = {"miou": after.miou, "pixel_accuracy": after.pixel_accuracy, "mean_accuracy": after.mean_accuracy}
    metrics["protocol"] = f"{len(val_data)} images held out, single scale"
    trained.pretrained_cfg = dataclasses.replace(trained.pretrained_cfg, metrics=metrics)
    return FinetuneResult(before, after, time.monotonic() - began, save_pretrained(trained, Path(out) / "model"))
