"""What a training must know of the task it is for: what is trained, on what batches, and how it is judged."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from ..data.base import check_depth
from ..data.class_weights import class_weights
from ..data.instances import detection_collate
from ..data.transforms import train_transform
from ..evaluation.instance import evaluate_instances
from ..evaluation.semantic import evaluate
from ..layers.normalize import Normalize
from ..losses import DepthLoss, make_loss
from ..recipes.recipe import Recipe
from ..segmenters.base import BaseSegmenter, SemanticSegmenter
from ..segmenters.instance import InstanceSegmenter
from ..segmenters.recurrent import IterativeSegmenter
from ..segmenters.segmenter import Segmenter


class TrainingTask(ABC):
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
        self, model: BaseSegmenter, data: Dataset, recipe: Recipe, mean: Sequence[float], std: Sequence[float]
    ) -> nn.Module:
        """What is trained: ``module(*self.inputs(batch)) -> loss``, with the network as its attribute ``model``."""

    @abstractmethod
    def inputs(self, batch: Any) -> tuple:
        """A batch as the module's arguments."""

    @abstractmethod
    def evaluate(self, network: BaseSegmenter, data: Dataset, module: nn.Module, device: str) -> dict[str, Any]:
        """Figures of the network (that of the module, or an average of it) as plain data."""

    def augment(self, data: Dataset, recipe: Recipe, mean: Sequence[float]) -> None:
        """Give the data to train on their random transform."""
        data.transform = train_transform(
            recipe.crop_size,
            recipe.scale_range,
            getattr(data, "ignore_index", 255),
            mean,
            rotate=recipe.rotate,
            cat_max_ratio=recipe.cat_max_ratio,
            hflip=recipe.hflip,
            color_jitter=recipe.color_jitter,
        )


class SemanticTask(TrainingTask):
    """A class for every pixel."""

    figures = ("miou", "pixel_accuracy", "mean_accuracy")
    title = "mIoU"

    def module(self, model, data, recipe, mean, std):
        class_frequencies = data.class_frequencies(present_only=recipe.class_weights == "median")
        weight = class_weights(class_frequencies, recipe.class_weights)
        loss = make_loss(recipe.loss, weight, data.ignore_index)
        depth_loss = None
        if recipe.depth_loss_weight or recipe.scale_loss_weight:
            depth_loss = DepthLoss(recipe.depth_loss_weight, recipe.scale_loss_weight)
        if depth_loss or model.takes_depth:
            check_depth(data, "depth_loss, scale_loss and a gate of given depth")
        weights = recipe.iteration_loss_weight, recipe.aux_loss_weight, recipe.seg_loss_weight
        return SemanticObjective(model, Normalize(mean, std, model.in_chans), loss, *weights, depth_loss)

    def inputs(self, batch):
        return batch["image"].contiguous(memory_format=torch.channels_last), batch["mask"], batch.get("depth")

    def evaluate(self, network, data, module, device):
        return asdict(evaluate(network, data, normalize=module.normalize, device=device))


class InstanceTask(TrainingTask):
    """Objects. The losses are the detector's own."""

    figures = ("mask_ap", "mask_ap50", "box_ap")
    title = "mask AP"
    collate = staticmethod(detection_collate)

    def module(self, model, data, recipe, mean, std):
        usual = Recipe()
        for name in (
            "loss",
            "iteration_loss_weight",
            "aux_loss_weight",
            "seg_loss_weight",
            "depth_loss_weight",
            "scale_loss_weight",
        ):
            if getattr(recipe, name) != getattr(usual, name):
                raise ValueError(f"{name} is of networks of classes; got {getattr(recipe, name)!r}: leave it out")
        return InstanceObjective(model, mean, std)

    def inputs(self, batch):
        return batch

    def evaluate(self, network, data, module, device):
        return evaluate_instances(network, data, device)


TASKS: dict[str, TrainingTask] = {"semantic": SemanticTask(), "instance": InstanceTask()}


def has_auxiliary(model: SemanticSegmenter) -> bool:
    """Whether a network has auxiliary heads."""
    return isinstance(model, Segmenter) and len(model.auxiliary) > 0


class SemanticObjective(nn.Module):
    """``task(uint8 images (B, C, H, W), labels (B, H, W)) -> loss``.

    loss = L(last pass) + iteration_loss_weight * sum of L(each pass before it) + aux_loss_weight * sum of loss(auxiliary logits, labels),
    and of a pass L = seg_loss_weight * loss(logits, labels) + depth_loss(depth, scales).

    Args:
        loss: of logits and labels.
        iteration_loss_weight: weight of the earlier passes of an unrolled network; 0 trains the last alone, as most papers do.
        aux_loss_weight: weight of the auxiliary heads of a network that has some; with 0 they are not run.
        seg_loss_weight: weight of ``loss`` in a pass.
        depth_loss: for networks that predict depth; the task is then called with the depth too.
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
    ):
        super().__init__()
        if depth_loss is not None and not model.predicts_depth:
            raise ValueError("a depth loss needs a network that predicts depth; this one does not: set it to 0")
        self.model = model
        self.normalize = normalize
        self.loss = loss
        self.iteration_loss_weight = iteration_loss_weight
        self.aux_loss_weight = aux_loss_weight if has_auxiliary(model) else 0.0
        self.seg_loss_weight = seg_loss_weight
        self.depth_loss = depth_loss

    def forward(self, images: Tensor, labels: Tensor, depth: Tensor | None = None) -> Tensor:
        """``depth`` (B, H, W) in metres, NaN where it is unknown; None of data without."""
        images, labels = self.normalize(images), labels.long()
        given = self.model.extra_inputs({} if depth is None else {"depth": depth})
        several = self.iteration_loss_weight and isinstance(self.model, IterativeSegmenter)
        if self.depth_loss is None and not several and not self.aux_loss_weight:
            return self.seg_loss_weight * self.loss(self.model(images, **given).float(), labels)
        if self.depth_loss is not None and depth is None:
            raise ValueError("a depth loss needs data with depth; these have none: open them so, or set it to 0")
        outputs, total = self.model.outputs(images, **given), 0.0
        for number, logits in enumerate(outputs.iterations):
            weight = 1.0 if number == len(outputs.iterations) - 1 else self.iteration_loss_weight
            if not weight:
                continue
            value = self.seg_loss_weight * self.loss(logits.float(), labels) if self.seg_loss_weight else 0.0
            if self.depth_loss is not None:
                said = outputs.log_depth[number], outputs.scale_logits[number]
                value = value + self.depth_loss(*said, depth, self.model.thresholds)
            total = total + weight * value
        for logits in outputs.auxiliary if self.aux_loss_weight else ():
            total = total + self.aux_loss_weight * self.loss(logits.float(), labels)
        return total


class InstanceObjective(nn.Module):
    """``task(uint8 images [(C, H, W)], targets) -> loss``, the sum of a detector's losses.

    Args:
        mean, std: of the pixels in [0, 1]; the network is told, and normalises by them from now on.
    """

    def __init__(self, model: InstanceSegmenter, mean: Sequence[float], std: Sequence[float]):
        super().__init__()
        self.model = model
        model.normalization = (tuple(mean), tuple(std))

    def forward(self, images: Sequence[Tensor], targets: Sequence[dict[str, Tensor]]) -> Tensor:
        losses = self.model([image.as_subclass(Tensor) / 255 for image in images], targets)
        return torch.stack([loss.float() for loss in losses.values()]).sum()
