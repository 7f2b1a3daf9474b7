"""Instance segmentation networks: proposals, and heads that read a region for each, over maps of any backbone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.rpn import RegionProposalNetwork
from torchvision.models.detection.transform import GeneralizedRCNNTransform

from ..backbones.pyramid import Pyramid
from ..backbones.wide_resnet import WiderResNet38
from ..heads.fcis import FCISRoIHeads
from ..heads.mask_rcnn import MAP_NAMES, MaskRoIHeads
from ..layers.normalize import channel_stats
from ..utils.keyword_types import check_keyword
from .base import BaseSegmenter
from .roi_masks import RoIMasks
from .targets import check_targets

Instances = dict[str, Any]
RoIHeads = MaskRoIHeads | FCISRoIHeads


class InstanceSegmenter(BaseSegmenter):
    """A detector on fused maps: ``model(images)`` and ``model(images, targets)`` as torchvision's.

    The fused maps of strides 4 8 16 32 and every second pixel of the last take the place of the feature pyramid.
    Images are given as to torchvision's, a list of (C, H, W) in 0 .. 1, each of its own size; the network normalizes
    them, with the mean and std of its weights, and resizes them.

    Args:
        backbone: strides 4 8 16 32.
        neck: list of its four maps -> list of four maps of equally many channels.
        resize: normalizes and resizes images and targets to a batch.
        rpn: (batch, maps, targets) -> (proposals of each image, losses).
        roi_heads: (maps, proposals, image sizes, targets) -> (instances of each resized image in evaluation, losses in
            training), maps by name: ``gatezoo.heads.mask_rcnn.MAP_NAMES``. Its ``at_image_size`` gives boxes, labels,
            scores and masks (N, 1, m, m) at an image's own size, ``probe`` the raw outputs for given boxes,
            ``classifier`` the layers that depend on the number of classes.
        num_classes: with the background, which is class 0.
        in_chans: channels of the image.
        freeze_bn: keep the statistics of the backbone's batch norm in training.

    Attributes:
        score_threshold, max_detections: in evaluation, least score of an instance, and most instances of an image.
        normalization: mean and std to use in place of the weights' own; None for those.

    Raises:
        ValueError: fewer than two classes.
    """

    task = "instance"

    def __init__(
        self,
        backbone: Pyramid | WiderResNet38,
        neck: nn.Module,
        resize: GeneralizedRCNNTransform,
        rpn: RegionProposalNetwork,
        roi_heads: RoIHeads,
        num_classes: int,
        in_chans: int = 3,
        freeze_bn: bool = True,
    ):
        super().__init__(backbone, num_classes, in_chans, freeze_bn)
        if num_classes < 2:
            raise ValueError(
                f"num_classes must count the background and at least one more; got {num_classes}: pass at least 2"
            )
        self.neck = neck
        self.resize, self.rpn, self.roi_heads = resize, rpn, roi_heads
        self.max_workload_kwargs = {
            "proposals": roi_heads.rounds * rpn._post_nms_top_n["testing"],
            "instances": roi_heads.detections_per_img,
        }
        self.normalization: tuple[Sequence[float], Sequence[float]] | None = None

    @property
    def score_threshold(self) -> float:
        """In evaluation, least score of an instance, in 0 .. 1."""
        return self.roi_heads.score_thresh

    @score_threshold.setter
    def score_threshold(self, value: float) -> None:
        check_keyword("score_threshold", value, float)
        if not 0 <= value < 1:
            raise ValueError(f"score_threshold must be in 0 .. 1, 1 excluded; got {value}")
        self.roi_heads.score_thresh = value

    @property
    def max_detections(self) -> int:
        """In evaluation, largest number of instances of an image."""
        return self.roi_heads.detections_per_img

    @max_detections.setter
    def max_detections(self, value: int) -> None:
        check_keyword("max_detections", value, int)
        if value < 1:
            raise ValueError(f"max_detections must be at least 1; got {value}")
        self.roi_heads.detections_per_img = value

    def forward(self, images: Sequence[Tensor], targets: Sequence[Instances] | None = None) -> Any:
        """Compute the losses in training, or find the instances in evaluation.

        Args:
            images: float (C, H, W) in 0 .. 1 each.
            targets: in training, for each image boxes (N, 4) x1 y1 x2 y2, labels (N,) in 1 .. K - 1, masks (N, H, W); N
                may be 0.

        Returns:
            In training a dict of losses (loss_classifier, loss_box_reg, loss_mask, loss_objectness, loss_rpn_box_reg).
            In evaluation for each image boxes (N, 4), labels (N,), scores (N,), highest first, and masks, a
            :class:`RoIMasks`.

        Raises:
            ValueError: images or targets that are not of this form.
        """
        self._check_images(images)
        if self.training:
            if targets is None:
                raise ValueError("targets must be given in training; got None: pass targets, or call model.eval()")
            targets = [_plain_tensors(target) for target in targets]
            check_targets([image.shape[-2:] for image in images], targets, self.num_classes)
        batch, targets = self._prepare(images, targets if self.training else None)
        for_rpn, for_heads = (dict(zip(MAP_NAMES, maps)) for maps in self.maps(batch.tensors))
        # Boxes in 16 bits would be off by pixels.
        with torch.autocast(batch.tensors.device.type, enabled=False):
            proposals, losses = self.rpn(batch, for_rpn, targets)
            found, roi_losses = self.roi_heads(for_heads, proposals, batch.image_sizes, targets)
            if self.training:
                return losses | roi_losses
            return [
                self._at_image_size(instances, inner, image.shape[-2:])
                for instances, inner, image in zip(found, batch.image_sizes, images)
            ]

    def _at_image_size(self, instances: Instances, inner: Sequence[int], size: Sequence[int]) -> Instances:
        """Return the instances of the resized image at the size of the original."""
        found = self.roi_heads.at_image_size(instances, inner, size)
        return {**found, "masks": RoIMasks(found["masks"], found["boxes"], size)}

    def get_classifier(self) -> nn.Module:
        """Return the layers of the regions' heads whose shape depends on the number of classes."""
        return self.roi_heads.classifier()

    def forward_features(self, images: Sequence[Tensor]) -> list[Tensor]:
        """Compute the maps of the backbone (B, C_l, h_l, w_l), finest first, of the images as they are resized."""
        self._check_images(images)
        batch, _ = self._prepare(images, None)
        return self.backbone(batch.tensors)

    def _prepare(self, images: Sequence[Tensor], targets: Sequence[Instances] | None) -> tuple[ImageList, Any]:
        """Normalize and resize the images, and resize the targets, into one batch."""
        mean, std = self.normalization or (self.data_config.mean, self.data_config.std)
        self.resize.image_mean, self.resize.image_std = channel_stats(mean, std, self.in_chans)
        return self.resize(images, targets)

    def _check_shapes(self, images: Sequence[Tensor]) -> None:
        """Refuse images so narrow that nothing of their short side is left when the long one is resized."""
        for image in images:
            short, long = sorted(image.shape[-2:])
            scale = min(self.resize.min_size[-1] / short, self.resize.max_size / long)
            if short * scale < 1:
                raise ValueError(
                    f"an image must have a side of at least 1 pixel when its longer one is resized to "
                    f"{self.resize.max_size}; got {short} x {long}: cut it into parts"
                )

    def maps(self, image: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """Return the maps for the proposals and those for the heads, float32, of a normalized batch (B, C, H, W).

        Both are the same five, finest first.
        """
        fused = self.neck(self.backbone(image))
        maps = [x.float() for x in (*fused, F.max_pool2d(fused[-1], 1, 2))]
        return maps, maps

    def raw_outputs(self, image: Tensor, proposals: int = 8, instances: int = 2) -> Tensor:
        """Return logits and box offsets of every anchor, and logits, offsets and masks at fixed places, flat.

        Args:
            image: normalized batch of one.
            proposals: number of places whose boxes are classified.
            instances: number of those places whose masks are computed.
        """
        divisor = self.resize.size_divisible
        height, width = image.shape[-2:]
        for_rpn, for_heads = self.maps(F.pad(image, (0, -width % divisor, 0, -height % divisor)))
        finest = for_heads[0]
        # A tensor made of a list would fix the size of an exported network.
        whole = torch.cat([finest.new_full((1,), side) for side in (0, 0, finest.shape[-1], finest.shape[-2])])
        # Ever smaller boxes at one corner: all differ, and none depends on the values of the maps.
        boxes = whole / torch.arange(1, proposals + 1, device=finest.device)[:, None]
        objectness, offsets = self.rpn.head(for_rpn)
        found = [*objectness, *offsets, *self.roi_heads.probe(for_heads, boxes, instances)]
        return torch.cat([x.flatten() for x in found])

    def _check_images(self, images: Sequence[Tensor]) -> None:
        for image in images:
            if image.ndim != 3 or image.shape[0] != self.in_chans:
                raise ValueError(f"each image must be ({self.in_chans}, H, W); got {tuple(image.shape)}")
            if not image.is_floating_point():
                raise ValueError(f"images must be floating point in 0 .. 1; got {image.dtype}: divide by 255")
        self._check_shapes(images)


def _plain_tensors(target: Instances) -> Instances:
    """Return the target without the data set's tensor subclasses, which would carry their box format along."""
    plain = {key: target[key] for key in ("boxes", "labels", "masks") if key in target}
    return {key: value.as_subclass(Tensor) for key, value in plain.items()}


class SingleMapInstanceSegmenter(InstanceSegmenter):
    """A detector without a pyramid, on the two maps of a neck: proposals read the first, the regions' heads the last.

    Arguments as of :class:`InstanceSegmenter`.
    """

    def maps(self, image: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """Return the map for the proposals and that for the heads, float32, of a normalized batch (B, C, H, W)."""
        first, last = self.neck(self.backbone(image))
        return [first.float()], [last.float()]
