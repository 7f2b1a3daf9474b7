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
from ..evaluation.instance import evaluate_instances
from ..evaluation.loop import evaluate
from ..layers.normalize import Normalize
from ..losses import DepthLoss, make_loss
from ..recipes.recipe import Recipe
from ..segmenters.base import BaseSegmenter, SemanticSegmenter
from ..segmenters.instance import InstanceSegmenter
from ..segmenters.recurrent import IterativeSegmenter
from ..segmenters.segmenter import Segmenter

Transform = Callable[[dict[str, Any]], dict[str, Any]]


class TrainingTask(ABC):
    """A task as the trainer sees it. Data sets are those of :mod:`gatezoo.data`, or others with their attributes.

    Attributes:
        metric_names: metrics of an evaluation that the log shows. The first one selects the best checkpoint.
        metric_title: title of the first one.
    """

    metric_names: ClassVar[tuple[str, ...]]
    metric_title: ClassVar[str]

    @property
    def collate(self) -> Callable[[Sequence[Any]], Any] | None:
        """Function items -> batch; None for torch's own."""
        return None

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

    @abstractmethod
    def evaluate(
        self, network: BaseSegmenter, data: Any, module: nn.Module, device: str, workers: int
    ) -> dict[str, Any]:
        """Return scores as plain data.

        Args:
            network: that of ``module``, or an average of it.
            data: to evaluate on.
            module: that :meth:`make_module` made.
            device: that the network runs on.
            workers: processes that load images; 0: none.
        """

    @abstractmethod
    def begin_step(self, module: nn.Module, step: int, recipe: Recipe) -> None:
        """Change what the module computes, if that changes with this step."""

    def train_transform(self, data: Any, recipe: Recipe, mean: Sequence[float], crop_size: int) -> Transform:
        """Return the random transform for items of the training data."""
        return train_transform(
            crop_size,
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

    metric_names = ("miou", "pixel_accuracy", "mean_accuracy")
    metric_title = "mIoU"

    def make_module(
        self, model: BaseSegmenter, data: Any, recipe: Recipe, mean: Sequence[float], std: Sequence[float]
    ) -> SemanticObjective:
        """Make the objective with the recipe's losses and class weights."""
        assert isinstance(model, SemanticSegmenter)
        class_frequencies = data.class_frequencies(present_only=recipe.class_weights == "median")
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

    def evaluate(
        self, network: BaseSegmenter, data: Any, module: nn.Module, device: str, workers: int
    ) -> dict[str, Any]:
        """Return the scores of :func:`gatezoo.evaluate`."""
        assert isinstance(network, SemanticSegmenter)
        assert isinstance(module, SemanticObjective)
        return evaluate(network, data, normalize=module.normalize, device=device, workers=workers).scores.to_dict()


class InstanceTask(TrainingTask):
    """Instance segmentation, with the detector's own losses."""

    metric_names = ("mask_ap", "mask_ap50", "box_ap")
    metric_title = "mask AP"

    @property
    def collate(self) -> Callable[[Sequence[Any]], Any]:
        """Function items -> (images, targets)."""
        return detection_collate

    def make_module(
        self, model: BaseSegmenter, data: Any, recipe: Recipe, mean: Sequence[float], std: Sequence[float]
    ) -> InstanceObjective:
        """Make the objective; the recipe must not set losses."""
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
            if value != getattr(Recipe(), name):
                raise ValueError(f"{name} is only supported for semantic segmentation; got {value!r}: leave it out")
        return InstanceObjective(model, mean, std)

    def unpack(self, batch: tuple[Any, ...]) -> tuple[Any, ...]:
        """Return images and targets."""
        return batch

    def begin_step(self, module: nn.Module, step: int, recipe: Recipe) -> None:
        """Change nothing: the losses are the same in all steps."""

    def evaluate(
        self, network: BaseSegmenter, data: Any, module: nn.Module, device: str, workers: int
    ) -> dict[str, Any]:
        """Return the scores of :func:`gatezoo.evaluation.instance.evaluate_instances`."""
        assert isinstance(network, InstanceSegmenter)
        return evaluate_instances(network, data, device, workers)


TASKS: dict[str, TrainingTask] = {"semantic": SemanticTask(), "instance": InstanceTask()}


def has_auxiliary(model: BaseSegmenter) -> bool:
    """Return whether a network has auxiliary heads."""
    return isinstance(model, Segmenter) and len(model.auxiliary) > 0


class SemanticObjective(nn.Module):
    """Network and losses of semantic segmentation: ``(uint8 images (B, C, H, W), labels (B, H, W)) -> loss``.

    loss = L(last pass) + iteration_loss_weight * sum of L(each pass before it)
    + aux_loss_weight * sum of loss(auxiliary logits, labels), where for one pass
    L = seg_loss_weight * loss(logits, labels) + depth_loss(depth, scales).

    Args:
        model: the network.
        normalize: uint8 images -> input of the network.
        loss: of logits and labels.
        iteration_loss_weight: weight of the earlier passes of an unrolled network; with 0 only the last is trained, as
            in most papers.
        aux_loss_weight: weight of the auxiliary heads of a network that has some; with 0 they are not run.
        seg_loss_weight: weight of ``loss`` in a pass.
        depth_loss: for networks that predict depth; the module is then called with the depth too.
        late_loss: that replaces ``loss`` while the attribute ``late`` is set.
    """

    def __init__(
        self,
        model: SemanticSegmenter,
        normalize: Normalize,
        loss: nn.Module,
        iteration_loss_weight: float = 0.0,
        aux_loss_weight: float = 0.4,
        seg_loss_weight: float = 1.0,
        depth_loss: DepthLoss | None = None,
        late_loss: nn.Module | None = None,
    ):
        super().__init__()
        if depth_loss is not None and not model.predicts_depth:
            raise ValueError(
                "a depth loss needs a network that predicts depth; this one does not: "
                "set depth_loss_weight and scale_loss_weight to 0"
            )
        self.model = model
        self.normalize = normalize
        self.loss = loss
        self.iteration_loss_weight = iteration_loss_weight
        self.aux_loss_weight = aux_loss_weight if has_auxiliary(model) else 0.0
        self.seg_loss_weight = seg_loss_weight
        self.depth_loss = depth_loss
        self.late_loss, self.late = late_loss, False

    def forward(self, images: Tensor, labels: Tensor, depth: Tensor | None = None) -> Tensor:
        """Compute the loss.

        Args:
            images: uint8 (B, C, H, W).
            labels: (B, H, W).
            depth: (B, H, W) in metres, NaN where it is unknown; None for data without depth.
        """
        images, labels = self.normalize(images), labels.long()
        label_loss = self.late_loss if self.late and self.late_loss is not None else self.loss
        extra = self.model.extra_inputs({} if depth is None else {"depth": depth})
        all_passes = self.iteration_loss_weight and isinstance(self.model, IterativeSegmenter)
        if self.depth_loss is None and not all_passes and not self.aux_loss_weight:
            return self.seg_loss_weight * label_loss(self.model(images, **extra).float(), labels)
        if self.depth_loss is not None and depth is None:
            raise ValueError(
                "a depth loss needs data with depth; these have none: "
                "open them with depth, or set depth_loss_weight and scale_loss_weight to 0"
            )
        outputs = self.model.outputs(images, **extra)
        total: Tensor | float = 0.0
        for number, logits in enumerate(outputs.iterations):
            weight = 1.0 if number == len(outputs.iterations) - 1 else self.iteration_loss_weight
            if not weight:
                continue
            value = self.seg_loss_weight * label_loss(logits.float(), labels) if self.seg_loss_weight else 0.0
            if self.depth_loss is not None:
                predicted = outputs.log_depth[number], outputs.scale_logits[number]
                value = value + self.depth_loss(*predicted, depth, self.model.thresholds)
            total = total + weight * value
        for logits in outputs.auxiliary if self.aux_loss_weight else ():
            total = total + self.aux_loss_weight * label_loss(logits.float(), labels)
        assert isinstance(total, Tensor)  # a recipe has at least one loss
        return total


class InstanceObjective(nn.Module):
    """Network and losses of instance segmentation: ``(uint8 images [(C, H, W)], targets) -> sum of the losses``.

    Args:
        model: the network. From now on it normalizes by ``mean`` and ``std``.
        mean: of the pixels in [0, 1].
        std: of the pixels in [0, 1].
    """

    def __init__(self, model: InstanceSegmenter, mean: Sequence[float], std: Sequence[float]):
        super().__init__()
        self.model = model
        model.normalization = (tuple(mean), tuple(std))

    def forward(self, images: Sequence[Tensor], targets: Sequence[dict[str, Tensor]]) -> Tensor:
        """Compute the loss."""
        losses = self.model([image.as_subclass(Tensor) / 255 for image in images], targets)
        return torch.stack([loss.float() for loss in losses.values()]).sum()
