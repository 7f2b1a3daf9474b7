"""From names to a training: what ``gatezoo train`` and ``gatezoo finetune`` do."""

from __future__ import annotations

import dataclasses
import os
from typing import Any

import torch

from ..data.base import SegmentationDataset, depth_quantiles
from ..factory import create_model, load_checkpoint
from ..recipes.recipe import Recipe
from ..registry import get_model_spec
from ..segmenters.base import BaseSegmenter
from ..segmenters.depth import DepthGated
from .trainer import train


def train_model(
    name: str,
    train_data: SegmentationDataset,
    val_data: SegmentationDataset,
    out: str | os.PathLike,
    recipe: Recipe,
    pretrained: bool = False,
    pretrained_backbone: str | None = None,
    initial_checkpoint: str | os.PathLike | None = None,
    model_kwargs: dict[str, Any] | None = None,
    freeze_bn: bool = True,
    workers: int = 1,
    device: str = "cpu",
    resume: bool = False,
    log_with: str | None = None,
) -> dict[str, Any]:
    """Build a network by name and train it on a data set.

    Args:
        pretrained_backbone: "timm" for timm's published weights, or a local file of them.
        initial_checkpoint: a checkpoint of any network of the zoo; its tensors that fit are taken over.
        model_kwargs: further keywords of the model's builder. They are kept in the checkpoint.
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
        print(load_checkpoint(model, initial_checkpoint, strict=False))
    _set_depth_thresholds(model, train_data)
    about = _checkpoint_metadata(model, train_data)
    return train(model, train_data, val_data, out, recipe, about, device, workers, resume, log_with)


def _set_classes(model: BaseSegmenter, data: SegmentationDataset) -> None:
    """Weights that are about to learn a data set have its classes, whatever they had."""
    if model.pretrained_cfg:
        about = {"num_classes": data.num_classes, "class_names": data.classes, "palette": data.palette, "metrics": {}}
        about["ignore_index"] = getattr(data, "ignore_index", 255)
        model.pretrained_cfg = dataclasses.replace(model.pretrained_cfg, **about)


def _set_depth_thresholds(model: BaseSegmenter, data: SegmentationDataset) -> None:
    """Scales by depth hold equally many pixels of the training data each, unless their thresholds were told."""
    by_depth = isinstance(model, DepthGated) and len(model.thresholds) and "thresholds" not in model.model_kwargs
    if by_depth and "depth" in data.layers:
        model.set_thresholds(depth_quantiles(data, len(model.thresholds) + 1))


def _checkpoint_metadata(model: BaseSegmenter, data: SegmentationDataset) -> dict[str, Any]:
    """What a checkpoint must tell for ``create_model`` to build its network."""
    return {
        "model": model.architecture,
        "num_classes": data.num_classes,
        "class_names": data.classes,
        "palette": data.palette,
        "model_kwargs": get_model_spec(model.architecture).architecture_kwargs(model.model_kwargs),
        "ignore_index": getattr(data, "ignore_index", 255),
        "in_chans": model.in_chans,
    }
