"""What a training engine wraps: a network and its loss in one module."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from .detector import InstanceSegmenter
from .segmenter import RecurrentSegmenter, SegmentationModel, Segmenter
from .transforms import Normalize


def has_auxiliary(model: SegmentationModel) -> bool:
    """Whether a network has auxiliary heads."""
    return isinstance(model, Segmenter) and len(model.auxiliary) > 0


class SegmentationTask(nn.Module):
    """``task(uint8 images (B, C, H, W), labels (B, H, W)) -> loss``.

    loss = L(logits of the last pass) + pass_loss * sum of L(logits of each pass before it)
        + aux_loss * sum of L(logits of each auxiliary head).

    Args:
        loss: of logits and labels.
        pass_loss: weight of the earlier passes of an unrolled network; 0 trains the last alone, as the papers do.
        aux_loss: weight of the auxiliary heads of a network that has some; with 0 they are not run.
    """

    def __init__(
        self,
        model: SegmentationModel,
        normalize: Normalize,
        loss: nn.Module,
        pass_loss: float = 0.0,
        aux_loss: float = 0.4,
    ):
        super().__init__()
        self.model = model
        self.normalize = normalize
        self.loss = loss
        self.pass_loss = pass_loss
        self.aux_loss = aux_loss

    def forward(self, images: Tensor, labels: Tensor) -> Tensor:
        images, labels = self.normalize(images), labels.long()
        if self.aux_loss and has_auxiliary(self.model):
            outputs = self.model.outputs(images)
            main, *extra = (self.loss(logits.float(), labels) for logits in (outputs.logits, *outputs.auxiliary))
            return main + self.aux_loss * sum(extra)
        if not (self.pass_loss and isinstance(self.model, RecurrentSegmenter)):
            return self.loss(self.model(images).float(), labels)
        *earlier, last = (self.loss(logits.float(), labels) for logits in self.model.iterate(images))
        return last + self.pass_loss * sum(earlier)


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
