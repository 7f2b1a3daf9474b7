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
from ..evaluation.loop import evaluate
from ..factory import create_model
from ..metrics import Scores
from ..publishing.model_folder import save_pretrained
from ..recipes.recipe import Recipe
from ..segmenters.base import SemanticSegmenter
from ..utils.devices import resolve_device
from ..utils.text import is_plain_text
from .launch import _checkpoint_metadata, _set_classes, _set_depth_thresholds
from .options import RunOptions
from .trainer import Trainer


@dataclass(frozen=True)
class FinetuneResult:
    """Result of fine-tuning.

    Attributes:
        before: scores on the held-out images before training.
        after: scores on them after training.
        seconds: time that training and both evaluations took.
        folder: the model folder.
    """

    before: Scores
    after: Scores
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
    device: str = "auto",
    resume: bool = False,
    command: str = "",
) -> FinetuneResult:
    """Fine-tune all parameters of published weights on other images.

    If the number of classes differs, the classifier is replaced by a new one. Held-out images (``val_data``) are used
    for scores only, never for checkpoint selection: the last checkpoint is kept, as the folder ``out/model`` for
    ``create_model("local-dir:...")``. It remembers the encoding of the labels and the license of the weights, and
    names them as its base model. How the weights' own training data was encoded has no effect: these are other data.

    Args:
        name: model with weights: NAME, NAME.TAG or local-dir:FOLDER.
        train_data: images to train on.
        val_data: held-out images.
        out: folder for checkpoints, logs and the model folder.
        recipe: fields of :class:`gatezoo.recipes.Recipe` that replace the defaults of fine-tuning: half the usual
            learning rate, the crop size of the weights, and the number of steps that ``epochs`` gives.
        epochs: number of epochs; ignored if ``recipe`` has ``steps``.
        workers: processes that load images, for each process that trains; 0: none.
        device: "auto", "cpu", "cuda", "cuda:1", ...
        resume: continue the training in ``out``.
        command: the command that trains, to be stored with the weights; not stored if it has control characters.

    Raises:
        ValueError: the network is not a semantic segmentation network; and all errors of
            :func:`gatezoo.training.trainer.train`.
    """
    if not 0 < epochs < math.inf:
        raise ValueError(f"epochs must be a finite number above 0; got {epochs}")
    fields = dict(recipe or {})
    options = RunOptions(out, device, workers, resume)
    start = time.monotonic()
    torch.manual_seed(fields.get("seed", 0))
    model = create_model(name, pretrained=True, num_classes=train_data.num_classes, freeze_bn=True)
    model.require_task("semantic", "train instance segmentation with 'gatezoo train --pretrained'")
    assert isinstance(model, SemanticSegmenter)
    assert model.pretrained_cfg is not None
    _set_classes(model, train_data)
    fields = {"lr": 0.005, "crop_size": model.pretrained_cfg.recipe.get("crop_size", Recipe.crop_size), **fields}
    fields.setdefault("batch_size", min(Recipe.batch_size, len(train_data)))
    _set_depth_thresholds(model, train_data)
    fields.setdefault("steps", math.ceil(epochs * len(train_data) / fields["batch_size"]))
    fields = {"eval_interval": fields["steps"], "checkpoint_interval": max(1, fields["steps"] // 10), **fields}
    where = str(resolve_device(device))
    before = evaluate(model, val_data, device=where, workers=workers).scores
    metadata = _checkpoint_metadata(model, train_data) | {"command": command if is_plain_text(command) else ""}
    Trainer(model, train_data, val_data, Recipe.from_dict(fields), options, metadata).run()
    trained = create_model(metadata["architecture"], checkpoint_path=Path(out) / "last.safetensors")
    assert isinstance(trained, SemanticSegmenter)
    assert trained.pretrained_cfg is not None
    after = evaluate(trained, val_data, device=where, workers=workers).scores
    metrics = {
        "miou": after.miou,
        "pixel_accuracy": after.pixel_accuracy,
        "mean_accuracy": after.mean_accuracy,
        "protocol": f"{len(val_data)} images held out, single scale",
    }
    trained.pretrained_cfg = dataclasses.replace(trained.pretrained_cfg, metrics=metrics)
    return FinetuneResult(before, after, time.monotonic() - start, save_pretrained(trained, Path(out) / "model"))
