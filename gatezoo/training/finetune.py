"""Fine-tune pretrained weights on other images."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ..data.base import SegmentationDataset
from ..data.create import AnyDataset
from ..evaluation.loop import evaluate
from ..factory import create_model
from ..metrics import Scores
from ..metrics.names import headline_metrics
from ..publishing.model_folder import save_pretrained
from ..publishing.scores import format_protocol
from ..recipes.finetuning import FinetuneContext, finetune_recipe
from ..recipes.recipe import Recipe
from ..segmenters.base import BaseSegmenter
from ..utils.devices import resolve_device
from ..utils.text import is_plain_text, require_plain_text
from .launch import check_run, prepare_model
from .options import ModelSource, RunOptions
from .trainer import Trainer

# Classes whose shares the description of the training data lists.
MAX_LISTED_CLASSES = 20


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
    source: str | ModelSource,
    train_data: AnyDataset,
    val_data: AnyDataset,
    recipe: Mapping[str, Any],
    options: RunOptions,
    *,
    epochs: float = 20,
    data_name: str = "unnamed data",
    data_license: str = "",
    command: str = "",
) -> FinetuneResult:
    """Fine-tune all parameters of published weights on other images, of classes or of instances.

    If the number of classes differs, the classifier is replaced by a new one. Held-out images (``val_data``) are used
    for scores only, never for checkpoint selection: the last checkpoint is kept, as the folder ``out/model`` for
    ``create_model("local-dir:...")``. It tells what it was trained on, remembers the encoding of the labels and the
    license of the weights, and names them as its base model. How the weights' own training data was encoded has no
    effect: these are other data.

    Args:
        source: model with weights: NAME, NAME.TAG or local-dir:FOLDER.
        train_data: images to train on.
        val_data: held-out images.
        recipe: fields of :class:`gatezoo.recipes.Recipe` that replace the defaults of fine-tuning, which are
            :data:`gatezoo.recipes.finetuning.FINETUNE_DEFAULTS`.
        options: output folder, device and further options of the run.
        epochs: number of epochs; ignored if ``recipe`` has ``steps``.
        data_name: name of the data, to be stored with the weights.
        data_license: license of the data, likewise.
        command: the command that trains, likewise; not stored if it has control characters.

    Raises:
        ValueError: a model without weights; and all errors of :func:`gatezoo.training.trainer.train`.
    """
    start = time.monotonic()
    require_plain_text("name and license of the data", (data_name, data_license))
    check_run(options, recipe.get("opt", Recipe.opt))
    source = ModelSource(source, pretrained=True) if isinstance(source, str) else source
    seed = recipe.get("seed", Recipe.seed)

    def prepare() -> tuple[BaseSegmenter, dict[str, Any]]:
        torch.manual_seed(seed)
        return prepare_model(source, train_data)

    model, metadata = prepare()
    cfg = model.pretrained_cfg
    if cfg is None:
        raise ValueError(f"fine-tuning must start from weights; {source.name} has none: pass pretrained=True")
    complete = finetune_recipe(recipe, FinetuneContext(model.task, epochs, cfg.recipe, len(train_data)))
    metadata |= {
        "train_data": summarize_data(data_name, train_data, val_data),
        "data_license": data_license,
        "command": command if is_plain_text(command) else "",
    }
    trainer = Trainer(model, train_data, val_data, complete, options, metadata)
    is_main = trainer.accelerator.is_main_process
    device = str(resolve_device(options.device))
    if trainer.step:  # a resumed network has left its first weights
        model, _ = prepare()
    before = evaluate(model, val_data, device=device, workers=options.workers).scores
    trainer.run()

    trained = create_model(metadata["architecture"], checkpoint_path=Path(options.out) / "last.safetensors")
    assert trained.pretrained_cfg is not None
    evaluation = evaluate(trained, val_data, device=device, workers=options.workers)
    protocol = f"{data_name}, held-out images; {format_protocol(evaluation.protocol)}"
    metrics = {**headline_metrics(evaluation.scores), "protocol": protocol}
    trained.pretrained_cfg = dataclasses.replace(trained.pretrained_cfg, metrics=metrics)
    folder = Path(options.out) / "model"
    if is_main:
        save_pretrained(trained, folder)
    return FinetuneResult(before, evaluation.scores, time.monotonic() - start, folder)


def summarize_data(name: str, train_data: AnyDataset, val_data: AnyDataset) -> str:
    """Summarize training data: "eyes, 16 images, 4 more held out; pixels: background 87.6 %, vessel 12.4 %"."""
    text = f"{name}, {len(train_data)} images, {len(val_data)} more held out"
    if not isinstance(train_data, SegmentationDataset) or train_data.num_classes > MAX_LISTED_CLASSES:
        return text
    shares = zip(train_data.classes, train_data.class_frequencies().tolist(), strict=True)
    complete = f"{text}; pixels: {', '.join(f'{label} {100 * share:.1f} %' for label, share in shares)}"
    return complete if is_plain_text(complete) else text  # long names
