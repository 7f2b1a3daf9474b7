"""Networks of objects: torchvision's Mask R-CNN engine over fused maps of any backbone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.mask_rcnn import MaskRCNN, MaskRCNNHeads, MaskRCNNPredictor
from torchvision.models.detection.transform import resize_boxes
from torchvision.ops import roi_align

from ..backbones.pyramid import Pyramid
from .base import BaseSegmenter
from .roi_masks import RoIMasks
from .targets import check_targets

Instances = dict[str, Any]

RATIOS = (0.5, 1.0, 2.0)


class _Width(nn.Module):
    """All that torchvision's engine wants to know of a backbone when it is built."""

    def __init__(self, channels: int):
        super().__init__()
        self.out_channels = channels


class InstanceSegmenter(BaseSegmenter):
    """Mask R-CNN (He et al., 2017) on fused maps: ``model(images)`` and ``model(images, targets)`` as torchvision's.

    The fused maps of strides 4 8 16 32 and every second pixel of the last stand where the feature pyramid does.
    Images come as torchvision's do, a list of (C, H, W) in 0 .. 1, each of its own size; the network normalises
    them, with the mean and std of its weights, and resizes them.

    Args:
        backbone: strides 4 8 16 32.
        neck: list of its four maps -> list of four maps of ``channels`` channels.
        channels: C of the neck.
        num_classes: with the background, which is class 0.
        min_size, max_size: of the resized image: its shorter side, unless the longer one would be above the most.
        anchors: sides of the anchors on the five maps, in pixels of the resized image.
        box_width, mask_width: channels of the heads.

    Attributes:
        score_threshold, max_detections: in evaluation, least score of an object, and most objects of a image.
    """

    task = "instance"
    max_workload_kwargs = {"proposals": 1000, "objects": 100}

    def __init__(
        self,
        backbone: Pyramid,
        neck: nn.Module,
        channels: int,
        num_classes: int,
        in_chans: int = 3,
        freeze_bn: bool = True,
        min_size: int = 800,
        max_size: int = 1333,
        anchors: Sequence[int] = (32, 64, 128, 256, 512),
        box_width: int = 1024,
        mask_width: int = 256,
    ):
        super().__init__(backbone, num_classes, in_chans, freeze_bn)
        if num_classes < 2:
            raise ValueError(f"num_classes must count the background and at least one more; got {num_classes}")
        if len(anchors) != 5:
            raise ValueError(f"anchors must be 5 sides, one for each map; got {list(anchors)}")
        self.neck = neck
        engine = MaskRCNN(
            _Width(channels),
            min_size=min_size,
            max_size=max_size,
            rpn_anchor_generator=AnchorGenerator(tuple((side,) for side in anchors), (RATIOS,) * len(anchors)),
            box_head=TwoMLPHead(channels * 7**2, box_width),
            box_predictor=FastRCNNPredictor(box_width, num_classes),
            mask_head=MaskRCNNHeads(channels, (mask_width,) * 4, 1),
            mask_predictor=MaskRCNNPredictor(mask_width, mask_width, num_classes),
            size_divisible=math.lcm(32, backbone.size_divisor),
        )
        self.resize, self.rpn, self.roi_heads = engine.transform, engine.rpn, engine.roi_heads
        self.normalization: tuple[Sequence[float], Sequence[float]] | None = None

    @property
    def score_threshold(self) -> float:
        return self.roi_heads.score_thresh

    @score_threshold.setter
    def score_threshold(self, value: float) -> None:
        if not 0 <= value < 1:
            raise ValueError(f"score_threshold must be in 0 .. 1, 1 excluded; got {value}")
        self.roi_heads.score_thresh = value

    @property
    def max_detections(self) -> int:
        return self.roi_heads.detections_per_img

    @max_detections.setter
    def max_detections(self, value: int) -> None:
        if value < 1:
            raise ValueError(f"max_detections must be at least 1; got {value}")
        self.roi_heads.detections_per_img = value

    def forward(self, images: Sequence[Tensor], targets: Sequence[Instances] | None = None) -> Any:
        """Images (and in training what they show) -> losses in training, objects in evaluation.

        Args:
            images: float (C, H, W) in 0 .. 1 each.
            targets: for each image boxes (N, 4) x1 y1 x2 y2, labels (N,) in 1 .. K - 1, masks (N, H, W); N may be 0.

        Returns:
            In training a dict of losses (loss_classifier, loss_box_reg, loss_mask, loss_objectness, loss_rpn_box_reg).
            In evaluation for each image boxes (N, 4), labels (N,), scores (N,), highest first, and masks, a
            :class:`RoIMasks`.

        Raises:
            ValueError: images or targets that are not of this form.
        """
        self._check(images)
        if self.training:
            if targets is None:
                raise ValueError("training needs targets; got none: model(images, targets), or model.eval() to find")
            targets = [self._plain(target) for target in targets]
            check_targets([image.shape[-2:] for image in images], targets, self.num_classes)
        mean, std = self.normalization or (self.data_config.mean, self.data_config.std)
        if len(mean) != self.in_chans:
            mean, std = [sum(mean) / len(mean)] * self.in_chans, [sum(std) / len(std)] * self.in_chans
        self.resize.image_mean, self.resize.image_std = mean, std
        batch, targets = self.resize(images, targets if self.training else None)
        maps = dict(enumerate_maps(self.maps(batch.tensors)))
        # Boxes in 16 bits would be off by pixels.
        with torch.autocast(batch.tensors.device.type, enabled=False):
            proposals, losses = self.rpn(batch, maps, targets)
            found, more = self.roi_heads(maps, proposals, batch.image_sizes, targets)
        if self.training:
            return losses | more
        return [
            self._at_size(objects, inner, image.shape[-2:])
            for objects, inner, image in zip(found, batch.image_sizes, images)
        ]

    def maps(self, image: Tensor) -> list[Tensor]:
        """Normalised batch (B, C, H, W) -> the five maps that the engine reads, float32, finest first."""
        fused = self.neck(self.backbone(image))
        return [x.float() for x in (*fused, F.max_pool2d(fused[-1], 1, 2))]

    def raw_outputs(self, image: Tensor, proposals: int = 8, objects: int = 2) -> Tensor:
        """Logits and box offsets of every anchor of a batch of one, and those and masks of fixed places, flat.

        Args:
            proposals, objects: number of places whose boxes, and of those whose masks are looked at.
        """
        divisor = self.resize.size_divisible
        height, width = image.shape[-2:]
        maps = self.maps(F.pad(image, (0, -width % divisor, 0, -height % divisor)))
        finest = maps[0]
        whole = finest.new_tensor([0, 0, finest.shape[-1], finest.shape[-2]])
        # Ever smaller boxes about one corner: all differ, and none needs a number to be known.
        boxes = whole / torch.arange(1, proposals + 1, device=finest.device)[:, None]
        objectness, offsets = self.rpn.head(maps)
        found = [*objectness, *offsets]
        features = self.roi_heads.box_head(roi_align(finest, [boxes], 7, sampling_ratio=2))
        found += self.roi_heads.box_predictor(features)
        features = self.roi_heads.mask_head(roi_align(finest, [boxes[:objects]], 14, sampling_ratio=2))
        found.append(self.roi_heads.mask_predictor(features))
        return torch.cat([x.flatten() for x in found])

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        self.backbone.set_grad_checkpointing(enable)

    def _check(self, images: Sequence[Tensor]) -> None:
        for image in images:
            if image.ndim != 3 or image.shape[0] != self.in_chans:
                raise ValueError(f"each image must be ({self.in_chans}, H, W); got {tuple(image.shape)}")
            if not image.is_floating_point():
                raise ValueError(f"images must be floating point in 0 .. 1; got {image.dtype}: divide by 255")

    @staticmethod
    def _plain(target: Instances) -> Instances:
        """Without the data set's own types, which would carry their box format along."""
        plain = {key: target[key] for key in ("boxes", "labels", "masks") if key in target}
        return {key: value.as_subclass(Tensor) for key, value in plain.items()}

    @staticmethod
    def _at_size(objects: Instances, inner: tuple[int, int], size: tuple[int, int]) -> Instances:
        """Objects of the resized image, at the size of the image that came in."""
        boxes = resize_boxes(objects["boxes"], inner, size)
        return {**objects, "boxes": boxes, "masks": RoIMasks(objects["masks"], boxes, size)}


def enumerate_maps(maps: Sequence[Tensor]) -> list[tuple[str, Tensor]]:
    """Maps by the names that torchvision's RoI pooling knows the first four by, and "pool" for the last."""
    return list(zip(("0", "1", "2", "3", "pool"), maps, strict=True))
