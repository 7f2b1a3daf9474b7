"""Define for each task what is trained, on which batches, and how it is evaluated."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ..data.class_weights import class_weights
from ..data.instances import detection_collate
from ..data.transforms import train_transform
from ..evaluation.loop import default_metrics, evaluate
from ..layers.normalize import Normalize
from ..losses import DepthLoss, make_loss
from ..metrics import Metric
from ..metrics.names import METRICS
from ..recipes.neutral import NEUTRAL
from ..recipes.recipe import Recipe
from ..segmenters.base import BaseSegmenter, SemanticSegmenter
from ..segmenters.instance import InstanceSegmenter
from .messages import log_info
from .objectives import InstanceObjective, SemanticObjective
from .validation_loss import ValidationLoss

Transform = Callable[[dict[str, Any]], dict[str, Any]]


class TrainingTask(ABC):
    """A task as the trainer sees it. Data sets are those of :mod:`gatezoo.data`, or others with their attributes.

    Attributes:
        metric_names: scores of an evaluation that the log shows. The first one selects the best checkpoint by default.
    """

    metric_names: ClassVar[tuple[str, ...]]

    @property
    def collate(self) -> Callable[[Sequence[Any]], Any] | None:
        """Function items -> batch; None for torch's own."""
        return None

    @abstractmethod
    def score_names(self, model: BaseSegmenter, data: Any) -> list[str]:
        """Return the names of all scores of an evaluation that are single numbers, the default first."""

    @abstractmethod
    def make_module(
        self, model: BaseSegmenter, data: Any, recipe: Recipe, mean: Sequence[float], std: Sequence[float]
    ) -> nn.Module:
        """Make the module to train: ``module(*self.unpack(batch)) -> loss``, with the network as attribute ``model``.

        Args:
            model: the network.
            data: to train on.
            recipe: gives the losses and their weights.
            mean: of the pixels in [0, 1].
            std: of the pixels in [0, 1].

        Raises:
            ValueError: network, data and recipe do not fit together.
        """

    @abstractmethod
    def unpack(self, batch: Any) -> tuple[Any, ...]:
        """Return the module's arguments for a batch."""

    def validation_metrics(self, module: nn.Module) -> list[Metric]:
        """Return the metrics of an evaluation in addition to those of the data; by default none."""
        return []

    def evaluate(
        self,
        network: BaseSegmenter,
        data: Any,
        module: nn.Module,
        device: str,
        workers: int,
        more: Sequence[Metric] = (),
    ) -> dict[str, Any]:
        """Return scores as plain data.

        Args:
            network: that of ``module``, or an average of it.
            data: to evaluate on.
            module: that :meth:`make_module` made.
            device: that the network runs on.
            workers: processes that load images; 0: none.
            more: metrics in addition to those of the task.
        """
        metrics = [*default_metrics(network, data), *self.validation_metrics(module), *more]
        normalize = getattr(module, "normalize", None)  # detectors normalize by themselves
        options: dict[str, Any] = {"normalize": normalize, "device": device, "workers": workers}
        return evaluate(network, data, metrics=metrics, **options).scores.to_dict()

    @abstractmethod
    def begin_step(self, module: nn.Module, step: int, recipe: Recipe) -> None:
        """Change what the module computes, if that changes with this step."""

    def train_transform(self, data: Any, recipe: Recipe, mean: Sequence[float], crop_size: int) -> Transform:
        """Return the random transform for items of the training data; with ``short_side``, whole images stay whole."""
        return train_transform(
            None if recipe.short_side else crop_size,
            recipe.scale_range,
            getattr(data, "ignore_index", 255),
            tuple(mean),
            rotate=recipe.rotate,
            cat_max_ratio=recipe.cat_max_ratio,
            hflip=recipe.hflip,
            color_jitter=recipe.color_jitter,
        )


class SemanticTask(TrainingTask):
    """Semantic segmentation: a class for every pixel."""

    metric_names = ("miou", "pixel_accuracy", "mean_accuracy", "val_loss")

    def score_names(self, model: BaseSegmenter, data: Any) -> list[str]:
        """Return the names of the scores of classes, and those that the data and the network add."""
        sample = data[0] if len(data) else {}
        names = [*self.metric_names, "weighted_iou"]
        names += ["iiou"] if "instance" in sample else []
        if "depth" in sample and "depth" in model.capabilities:
            names += ["delta1", "delta2", "delta3", "abs_rel", "rmse", "rmse_log"]
        return names

    def make_module(
        self, model: BaseSegmenter, data: Any, recipe: Recipe, mean: Sequence[float], std: Sequence[float]
    ) -> SemanticObjective:
        """Make the objective with the recipe's losses and class weights."""
        assert isinstance(model, SemanticSegmenter)
        if recipe.short_side:
            raise ValueError(
                f"short_side is only supported for instance segmentation; got {recipe.short_side}: leave it out"
            )
        class_frequencies = data.class_frequencies(present_only=recipe.class_weights == "median")
        if absent := [data.classes[k] for k, share in enumerate(class_frequencies.tolist()) if share == 0]:
            log_info(f"no labeled pixel of {', '.join(absent)} in the training data: their class weight is 0")
        weight = class_weights(class_frequencies, recipe.class_weights)
        loss = make_loss(recipe.loss, weight, data.ignore_index)
        late_loss = make_loss(recipe.late_loss, weight, data.ignore_index) if recipe.late_loss else None
        depth_loss = None
        if recipe.depth_loss_weight or recipe.scale_loss_weight:
            depth_loss = DepthLoss(recipe.depth_loss_weight, recipe.scale_loss_weight)
        if depth_loss or model.takes_depth:
            data.require_depth("depth_loss_weight, scale_loss_weight and a gate of given depth")
        weights = recipe.iteration_loss_weight, recipe.aux_loss_weight, recipe.seg_loss_weight
        return SemanticObjective(model, Normalize(mean, std, model.in_chans), loss, *weights, depth_loss, late_loss)

    def begin_step(self, module: nn.Module, step: int, recipe: Recipe) -> None:
        """Use the late loss in the steps after ``late_loss_start``."""
        assert isinstance(module, SemanticObjective)
        module.late = bool(recipe.late_loss) and step >= round(recipe.late_loss_start * recipe.steps)

    def unpack(self, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor, Tensor | None]:
        """Return images, label maps and depth."""
        return batch["image"].contiguous(memory_format=torch.channels_last), batch["mask"], batch.get("depth")

    def validation_metrics(self, module: nn.Module) -> list[Metric]:
        """Return the loss of :class:`ValidationLoss`."""
        assert isinstance(module, SemanticObjective)
        return [ValidationLoss(module.label_loss)]


class InstanceTask(TrainingTask):
    """Instance segmentation, with the detector's own losses."""

    metric_names = ("mask_ap", "mask_ap50", "box_ap")

    def score_names(self, model: BaseSegmenter, data: Any) -> list[str]:
        """Return the names of all average precisions and recalls; the detector has no loss in evaluation."""
        return [name for name in METRICS if name.startswith(("mask_", "box_"))]

    @property
    def collate(self) -> Callable[[Sequence[Any]], Any]:
        """Function items -> (images, targets)."""
        return detection_collate

    def make_module(
        self, model: BaseSegmenter, data: Any, recipe: Recipe, mean: Sequence[float], std: Sequence[float]
    ) -> InstanceObjective:
        """Make the objective; the recipe must not set losses, and no other size of images than the network's."""
        assert isinstance(model, InstanceSegmenter)
        for name in (
            "loss",
            "late_loss",
            "iteration_loss_weight",
            "aux_loss_weight",
            "seg_loss_weight",
            "depth_loss_weight",
            "scale_loss_weight",
        ):
            value = getattr(recipe, name)
            if value not in (getattr(Recipe, name), NEUTRAL.get(name)):
                raise ValueError(f"{name} is only supported for semantic segmentation; got {value!r}: leave it out")
        # The network resizes every image that it gets: whole images in training as in evaluation.
        (side,) = model.resize.min_size
        if recipe.short_side not in (0, side):
            raise ValueError(
                f"short_side must be the network's min_size, {side}, to which it resizes images; got "
                f"{recipe.short_side}: pass --short-side {side} or --model-kwargs min_size={recipe.short_side}"
            )
        return InstanceObjective(model, mean, std)

    def unpack(self, batch: tuple[Any, ...]) -> tuple[Any, ...]:
        """Return images and targets."""
        return batch

    def begin_step(self, module: nn.Module, step: int, recipe: Recipe) -> None:
        """Change nothing: the losses are the same in all steps."""


TASKS: dict[str, TrainingTask] = {"semantic": SemanticTask(), "instance": InstanceTask()}
