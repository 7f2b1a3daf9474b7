"""Build a network by name and train it: the steps that training, stages and fine-tuning have in common."""

from __future__ import annotations

import dataclasses
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
from ..utils.devices import resolve_device
from .messages import log_info
from .optimizers import check_optimizer
from .options import ModelSource, RunOptions
from .run_folder import RunFolder
from .trainer import Trainer


def train_model(
    source: ModelSource, train_data: AnyDataset, val_data: AnyDataset, recipe: Recipe, options: RunOptions
) -> dict[str, Any]:
    """Build a network by name and train it on a data set.

    Args:
        source: the network, and the weights that it starts from.
        train_data: images to train on.
        val_data: images to evaluate on.
        recipe: how the network is trained.
        options: output folder, device and further options of the run.

    Returns:
        As :func:`gatezoo.training.trainer.train`.

    Raises:
        ValueError: as :func:`gatezoo.training.trainer.train`.
    """
    torch.manual_seed(recipe.seed)
    model, metadata = prepare_model(source, train_data)
    return Trainer(model, train_data, val_data, recipe, options, metadata).run()


def check_run(options: RunOptions, opt: str) -> None:
    """Check optimizer, device and folder of a run, before any data are read.

    Args:
        options: of the run.
        opt: of the recipe.

    Raises:
        ValueError: an unknown optimizer, a device that is not there, or a folder that holds another training.
    """
    check_optimizer(opt)
    resolve_device(options.device)
    RunFolder(options.out, options.resume, ())


def prepare_model(source: ModelSource, data: AnyDataset) -> tuple[BaseSegmenter, dict[str, Any]]:
    """Build a network for the classes of a data set, with the weights that it starts from.

    Its thresholds between scales of depth are those of the data, unless ``source`` gives them.

    Args:
        source: the network, and the weights that it starts from.
        data: images to train on.

    Returns:
        The network, and the metadata of its checkpoints: what ``create_model`` needs to build it again.

    Raises:
        ValueError: as :func:`gatezoo.create_model`.
    """
    backbone = source.pretrained_backbone
    model = create_model(
        source.name,
        pretrained=source.pretrained,
        num_classes=data.num_classes,
        pretrained_backbone=True if backbone == "timm" else backbone,
        freeze_bn=source.freeze_bn,
        **source.model_kwargs,
    )
    _set_classes(model, data)
    if source.initial_checkpoint:
        log_info(str(load_checkpoint(model, source.initial_checkpoint, strict=False)))
    _set_depth_thresholds(model, data)
    return model, _checkpoint_metadata(model, data)


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
