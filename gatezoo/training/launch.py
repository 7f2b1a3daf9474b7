"""Build a network by name and train it: the steps behind ``gatezoo train`` and ``gatezoo finetune``."""

from __future__ import annotations

import dataclasses
import os
from typing import Any

import torch

from ..data.base import SegmentationDataset
from ..data.create import AnyDataset
from ..data.label_format import LabelFormat
from ..factory import create_model, load_checkpoint
from ..recipes.recipe import Recipe
from ..registry import get_model_spec
from ..segmenters.base import BaseSegmenter
from ..segmenters.depth import DepthGated
from .messages import log_info
from .options import RunOptions
from .trainer import Trainer


def train_model(
    name: str,
    train_data: AnyDataset,
    val_data: AnyDataset,
    recipe: Recipe,
    options: RunOptions,
    *,
    pretrained: bool = False,
    pretrained_backbone: str | None = None,
    initial_checkpoint: str | os.PathLike | None = None,
    model_kwargs: dict[str, Any] | None = None,
    freeze_bn: bool = True,
) -> dict[str, Any]:
    """Build a network by name and train it on a data set.

    Args:
        name: of the model, as ``NAME`` or ``NAME.TAG``.
        train_data: images to train on.
        val_data: images to evaluate on.
        recipe: how the network is trained.
        options: output folder, device and further options of the run.
        pretrained: start from the model's published weights.
        pretrained_backbone: "timm" for timm's published weights of the backbone, or a local file of them.
        initial_checkpoint: a checkpoint of any network of the zoo; its tensors that fit are loaded.
        model_kwargs: further keywords of the model's builder. They are stored in the checkpoint.
        freeze_bn: keep the running statistics of batch norm: those of the backbone, and all of a recurrent network.

    Returns:
        As :func:`gatezoo.training.trainer.train`.

    Raises:
        ValueError: as :func:`gatezoo.training.trainer.train`.
    """
    torch.manual_seed(recipe.seed)
    model = create_model(
        name,
        pretrained=pretrained,
        num_classes=train_data.num_classes,
        pretrained_backbone=True if pretrained_backbone == "timm" else pretrained_backbone,
        freeze_bn=freeze_bn,
        **(model_kwargs or {}),
    )
    _set_classes(model, train_data)
    if initial_checkpoint:
        log_info(str(load_checkpoint(model, initial_checkpoint, strict=False)))
    _set_depth_thresholds(model, train_data)
    return Trainer(model, train_data, val_data, recipe, options, _checkpoint_metadata(model, train_data)).run()


def _set_classes(model: BaseSegmenter, data: AnyDataset) -> None:
    """Replace the facts about the data in the pretrained config; its weights become the base model of the new ones."""
    if cfg := model.pretrained_cfg:
        model.pretrained_cfg = dataclasses.replace(
            cfg,
            **_data_fields(data),
            metrics={},
            train_data="",
            data_license="",
            command="",
            base_model=cfg.describe_as_base(),
        )


def _data_fields(data: AnyDataset) -> dict[str, Any]:
    """Return the fields of a pretrained config that a data set determines."""
    label_format = getattr(data, "label_format", None) or LabelFormat()
    return {
        "num_classes": data.num_classes,
        "class_names": data.classes,
        "palette": data.palette,
        "ignore_index": getattr(data, "ignore_index", 255),
        "label_format": label_format.to_dict(),
        "image_max": getattr(data, "image_max", None),
    }


def _set_depth_thresholds(model: BaseSegmenter, data: AnyDataset) -> None:
    """Set the thresholds between scales to quantiles of the training depth, unless they were given as a keyword.

    Each scale then has equally many pixels.
    """
    if not isinstance(model, DepthGated) or len(model.thresholds) == 0 or "thresholds" in model.model_kwargs:
        return
    if isinstance(data, SegmentationDataset) and "depth" in data.layers:
        model.set_thresholds(data.depth_quantiles(len(model.thresholds) + 1))


def _checkpoint_metadata(model: BaseSegmenter, data: AnyDataset) -> dict[str, Any]:
    """Return the metadata that ``create_model`` needs to build the network of a checkpoint."""
    assert model.architecture is not None  # create_model made it
    cfg = model.pretrained_cfg
    return {
        "architecture": model.architecture,
        "model_kwargs": get_model_spec(model.architecture).architecture_kwargs(model.model_kwargs),
        "in_chans": model.in_chans,
        **_data_fields(data),
        **({"license": cfg.license, "base_model": cfg.base_model} if cfg else {}),
    }
