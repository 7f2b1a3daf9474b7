"""What a training must know of the task it is for: what is trained, on what batches, and how it is judged."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any, ClassVar

import torch
from torch import nn
from torch.utils.data import Dataset

from ..data.files.depth import check_depth
from ..data.instances import detection_batch
from ..data.transforms import train_transform
from ..depth_loss import DepthLoss
from ..evaluation.instance import evaluate_instances
from ..evaluation.semantic import evaluate
from ..layers.normalize import Normalize
from ..losses import class_weights, make_loss
from ..recipes.recipe import Recipe
from ..segmenters.base import Network
from .task import InstanceTask, SegmentationTask


class Job(ABC):
    """A task, as a training sees it.

    Attributes:
        figures: of an evaluation, those that the log shows; checkpoints are judged by the first.
        title: what the first is called.
        collate: items -> batch; None for torch's own.
    """

    figures: ClassVar[tuple[str, ...]]
    title: ClassVar[str]
    collate: ClassVar[Callable[[Sequence], Any] | None] = None

    @abstractmethod
    def module(
        self, model: Network, data: Dataset, recipe: Recipe, mean: Sequence[float], std: Sequence[float]
    ) -> nn.Module:
        """What is trained: ``module(*self.inputs(batch)) -> loss``, with the network as its attribute ``model``."""

    @abstractmethod
    def inputs(self, batch: Any) -> tuple:
        """A batch as the module's arguments."""

    @abstractmethod
    def evaluate(self, network: Network, data: Dataset, module: nn.Module, device: str) -> dict[str, Any]:
        """Figures of the network (that of the module, or an average of it) as plain data."""

    def augment(self, data: Dataset, recipe: Recipe, mean: Sequence[float]) -> None:
        """Give the data to train on their random transform."""
        data.transform = train_transform(
            recipe.crop,
            recipe.scale,
            getattr(data, "ignore_index", 255),
            mean,
            rotate=recipe.rotate,
            cat_max_ratio=recipe.cat_max_ratio,
            hflip=recipe.hflip,
            color_jitter=recipe.color_jitter,
        )


class SemanticJob(Job):
    """A class for every pixel."""

    figures = ("miou", "pixel_accuracy", "mean_accuracy")
    title = "mIoU"

    def module(self, model, data, recipe, mean, std):
        frequencies = data.frequencies(where_present=recipe.class_weights == "median")
        weight = class_weights(frequencies, recipe.class_weights)
        loss = make_loss(recipe.loss, weight, data.ignore_index)
        depth_loss = None
        if recipe.depth_loss or recipe.scale_loss:
            depth_loss = DepthLoss(recipe.depth_loss, recipe.scale_loss)
        if depth_loss or model.takes_depth:
            check_depth(data, "depth_loss, scale_loss and a gate of given depth")
        weights = recipe.pass_loss, recipe.aux_loss, recipe.label_loss
        return SegmentationTask(model, Normalize(mean, std, model.in_chans), loss, *weights, depth_loss)

    def inputs(self, batch):
        return batch["image"].contiguous(memory_format=torch.channels_last), batch["mask"], batch.get("depth")

    def evaluate(self, network, data, module, device):
        return asdict(evaluate(network, data, normalize=module.normalize, device=device))


class InstanceJob(Job):
    """Objects. The losses are the detector's own."""

    figures = ("mask_ap", "mask_ap50", "box_ap")
    title = "mask AP"
    collate = staticmethod(detection_batch)

    def module(self, model, data, recipe, mean, std):
        usual = Recipe()
        for name in ("loss", "pass_loss", "aux_loss", "label_loss", "depth_loss", "scale_loss"):
            if getattr(recipe, name) != getattr(usual, name):
                raise ValueError(f"{name} is of networks of classes; got {getattr(recipe, name)!r}: leave it out")
        return InstanceTask(model, mean, std)

    def inputs(self, batch):
        return batch

    def evaluate(self, network, data, module, device):
        return evaluate_instances(network, data, device)


JOBS: dict[str, Job] = {"semantic": SemanticJob(), "instance": InstanceJob()}
