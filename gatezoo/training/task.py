"""What a training engine wraps: a network and its loss in one module."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ..depth_loss import DepthLoss
from ..layers.normalize import Normalize
from ..segmenters.instance import InstanceSegmenter
from ..segmenters.segmenter import IterativeSegmenter, SegmentationModel, Segmenter


def has_auxiliary(model: SegmentationModel) -> bool:
    """Whether a network has auxiliary heads."""
    return isinstance(model, Segmenter) and len(model.auxiliary) > 0


class SegmentationTask(nn.Module):
    """``task(uint8 images (B, C, H, W), labels (B, H, W)) -> loss``.

    loss = L(last pass) + pass_loss * sum of L(each pass before it) + aux_loss * sum of loss(auxiliary logits, labels),
    and of a pass L = label_loss * loss(logits, labels) + depth_loss(depth, scales).

    Args:
        loss: of logits and labels.
        pass_loss: weight of the earlier passes of an unrolled network; 0 trains the last alone, as most papers do.
        aux_loss: weight of the auxiliary heads of a network that has some; with 0 they are not run.
        label_loss: weight of ``loss`` in a pass.
        depth_loss: for networks that predict depth; the task is then called with the depth too.
    """

    def __init__(
        self,
        model: SegmentationModel,
        normalize: Normalize,
        loss: nn.Module,
        pass_loss: float = 0.0,
        aux_loss: float = 0.4,
        label_loss: float = 1.0,
        depth_loss: DepthLoss | None = None,
    ):
        super().__init__()
        if depth_loss is not None and not model.predicts_depth:
            raise ValueError("a depth loss needs a network that predicts depth; this one does not: set it to 0")
        self.model = model
        self.normalize = normalize
        self.loss = loss
        self.pass_loss = pass_loss
        self.aux_loss = aux_loss if has_auxiliary(model) else 0.0
        self.label_loss = label_loss
        self.depth_loss = depth_loss

    def forward(self, images: Tensor, labels: Tensor, depth: Tensor | None = None) -> Tensor:
        """``depth`` (B, H, W) in metres, NaN where it is unknown; None of data without."""
        images, labels = self.normalize(images), labels.long()
        given = self.model.side_inputs({} if depth is None else {"depth": depth})
        several = self.pass_loss and isinstance(self.model, IterativeSegmenter)
        if self.depth_loss is None and not several and not self.aux_loss:
            return self.label_loss * self.loss(self.model(images, **given).float(), labels)
        if self.depth_loss is not None and depth is None:
            raise ValueError("a depth loss needs data with depth; these have none: open them so, or set it to 0")
        outputs, total = self.model.outputs(images, **given), 0.0
        for number, logits in enumerate(outputs.iterations):
            weight = 1.0 if number == len(outputs.iterations) - 1 else self.pass_loss
            if not weight:
                continue
            value = self.label_loss * self.loss(logits.float(), labels) if self.label_loss else 0.0
            if self.depth_loss is not None:
                said = outputs.log_depth[number], outputs.scale_logits[number]
                value = value + self.depth_loss(*said, depth, self.model.thresholds)
            total = total + weight * value
        for logits in outputs.auxiliary if self.aux_loss else ():
            total = total + self.aux_loss * self.loss(logits.float(), labels)
        return total


class InstanceTask(nn.Module):
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
