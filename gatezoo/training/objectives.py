"""Modules of a network and its losses: what a step of the training runs."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ..layers.normalize import Normalize
from ..losses import DepthLoss
from ..segmenters.base import BaseSegmenter, SemanticSegmenter
from ..segmenters.instance import InstanceSegmenter
from ..segmenters.recurrent import IterativeSegmenter
from ..segmenters.segmenter import Segmenter


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

    @property
    def label_loss(self) -> nn.Module:
        """The loss of logits and labels that holds now."""
        return self.late_loss if self.late and self.late_loss is not None else self.loss

    def forward(self, images: Tensor, labels: Tensor, depth: Tensor | None = None) -> Tensor:
        """Compute the loss.

        Args:
            images: uint8 (B, C, H, W).
            labels: (B, H, W).
            depth: (B, H, W) in metres, NaN where it is unknown; None for data without depth.
        """
        images, labels = self.normalize(images), labels.long()
        label_loss = self.label_loss
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
