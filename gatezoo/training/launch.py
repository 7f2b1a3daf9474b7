"""Build a network by name and train it: the steps that training, stages and fine-tuning have in common."""

from __future__ import annotations

from typing import Any

import torch

from ..data.base import SegmentationDataset
from ..data.create import AnyDataset
from ..factory import create_model, load_checkpoint
from ..recipes.recipe import Recipe
from ..segmenters.base import BaseSegmenter
from ..segmenters.depth import DepthGated
from ..utils.devices import resolve_device
from .messages import log_info
from .metadata import derive_cfg, describe_checkpoint
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
    # The classes are those of the data, and the weights become the base model of the new ones.
    model.pretrained_cfg = derive_cfg(model.pretrained_cfg, data)
    if source.initial_checkpoint:
        log_info(str(load_checkpoint(model, source.initial_checkpoint, strict=False)))
    _set_depth_thresholds(model, data)
    return model, describe_checkpoint(model, data, model.pretrained_cfg)


def _set_depth_thresholds(model: BaseSegmenter, data: AnyDataset) -> None:
    """Set the thresholds between scales to quantiles of the training depth, unless they were given as a keyword.

    Each scale then has equally many pixels.
    """
    given = model.model_kwargs.get("thresholds") is not None
    if not isinstance(model, DepthGated) or len(model.thresholds) == 0 or given:
        return
    if isinstance(data, SegmentationDataset) and "depth" in data.layers:
        model.set_thresholds(data.depth_quantiles(len(model.thresholds) + 1))
