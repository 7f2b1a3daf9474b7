"""Parts of Mask R-CNN (He et al., ICCV 2017), by torchvision, that read five maps.

Four have strides 4 8 16 32; the fifth, of stride 64, is every second pixel of the last and is for proposals alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.faster_rcnn import FastRCNNConvFCHead, FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor
from torchvision.models.detection.roi_heads import RoIHeads
from torchvision.models.detection.rpn import RegionProposalNetwork, RPNHead
from torchvision.models.detection.transform import GeneralizedRCNNTransform, resize_boxes
from torchvision.ops import Conv2dNormActivation, MultiScaleRoIAlign, roi_align

RATIOS = (0.5, 1.0, 2.0)
MAP_NAMES = ("0", "1", "2", "3", "pool")
# Sides of a region as the heads of boxes and of masks read it, in pixels.
BOX_SIDE, MASK_SIDE = 7, 14


def make_resize(min_size: int, max_size: int, size_divisor: int) -> GeneralizedRCNNTransform:
    """Return the module that normalizes images and resizes them to a batch.

    Args:
        min_size, max_size: length of the shorter side of the resized image, and the most that the longer one may have.
        size_divisor: of the backbone; sides of a batch are multiples of it and of 32.
    """
    # Mean and std are set at each call.
    return GeneralizedRCNNTransform(min_size, max_size, [0.0], [1.0], size_divisible=math.lcm(32, size_divisor))


def make_rpn(
    channels: int, anchors: Sequence[int], depth: int = 1, proposals: int | None = None
) -> RegionProposalNetwork:
    """Return the region proposal network, with torchvision's limits: 2000 proposals in training, 1000 in evaluation.

    Args:
        channels: C of the maps.
        anchors: sides of the anchors on the five maps, in pixels of the resized image.
        depth: number of its 3x3 convolutions.
        proposals: of an image at most, in training and in evaluation, in place of these limits.

    Raises:
        ValueError: not five anchors, or fewer than one proposal.
    """
    if len(anchors) != len(MAP_NAMES):
        raise ValueError(f"anchors must be 5 sides, one for each map; got {list(anchors)}: give 5")
    if proposals is not None and proposals < 1:
        raise ValueError(f"proposals must be at least 1; got {proposals}")
    before = {"training": 2000, "testing": 1000}
    return _make_rpn(
        AnchorGenerator(tuple((side,) for side in anchors), (RATIOS,) * len(anchors)),
        RPNHead(channels, len(RATIOS), conv_depth=depth),
        before,
        {mode: proposals or limit for mode, limit in before.items()},
    )


def make_single_map_rpn(channels: int, anchors: Sequence[int], width: int, proposals: int) -> RegionProposalNetwork:
    """Return the region proposal network of a single map, with 6000 proposals before NMS (Ren et al., NeurIPS 2015).

    Args:
        channels: C of the map.
        anchors: sides of the anchors at each place, in pixels of the resized image.
        width: channels of its 3x3 convolution.
        proposals: of an image at most, in training and in evaluation.

    Raises:
        ValueError: no anchors.
    """
    if not anchors:
        raise ValueError(f"anchors must be sides of boxes, at least one; got {list(anchors)}: give some")
    head = RPNHead(width, len(anchors) * len(RATIOS))
    head.conv = Conv2dNormActivation(channels, width, norm_layer=None)
    nn.init.normal_(head.conv[0].weight, std=0.01)
    nn.init.zeros_(head.conv[0].bias)
    modes = ("training", "testing")
    generator = AnchorGenerator((tuple(anchors),), (RATIOS,))
    return _make_rpn(generator, head, dict.fromkeys(modes, 6000), dict.fromkeys(modes, proposals))


def _make_rpn(
    generator: AnchorGenerator, head: nn.Module, before_nms: dict[str, int], after_nms: dict[str, int]
) -> RegionProposalNetwork:
    return RegionProposalNetwork(
        generator,
        head,
        fg_iou_thresh=0.7,
        bg_iou_thresh=0.3,
        batch_size_per_image=256,
        positive_fraction=0.5,
        pre_nms_top_n=before_nms,
        post_nms_top_n=after_nms,
        nms_thresh=0.7,
    )


class MaskRoIHeads(RoIHeads):
    """Boxes, classes and masks of proposals, by torchvision, with its limits.

    A region reads one of the four maps, by its size (FPN, Lin et al., CVPR 2017, eq. 1): that of stride 2^k,
    k = floor(4 + log2(sqrt(w h) / 224)) within 2 .. 5, w and h in pixels of the resized image. Its mask is one of a
    sigmoid for each class, the class being that of the box, trained by binary cross-entropy on the true class alone.

    Args:
        box_head: regions of the maps (N, C, 7, 7) -> features of boxes.
        box_predictor: these features -> logits (N, K) and offsets (N, 4 K).
        mask_head: regions of the maps (N, C, 14, 14) -> features of masks.
        mask_predictor: these features -> mask logits (N, K, 28, 28).
        box_pool: (maps, boxes, image sizes) -> regions of the box head, with a method ``probe`` as that of
            :class:`gatezoo.heads.deformable_pooling.DeformableRoIPool`; by default RoIAlign (Mask R-CNN, Sec. 3).
    """

    # How often a proposal is read.
    rounds = 1

    def __init__(
        self,
        box_head: nn.Module,
        box_predictor: nn.Module,
        mask_head: nn.Module,
        mask_predictor: nn.Module,
        box_pool: nn.Module | None = None,
    ):
        super().__init__(
            MultiScaleRoIAlign(MAP_NAMES[:4], BOX_SIDE, sampling_ratio=2) if box_pool is None else box_pool,
            box_head,
            box_predictor,
            fg_iou_thresh=0.5,
            bg_iou_thresh=0.5,
            batch_size_per_image=512,
            positive_fraction=0.25,
            bbox_reg_weights=None,
            score_thresh=0.05,
            nms_thresh=0.5,
            detections_per_img=100,
        )
        self.mask_roi_pool = MultiScaleRoIAlign(MAP_NAMES[:4], MASK_SIDE, sampling_ratio=2)
        self.mask_head, self.mask_predictor = mask_head, mask_predictor

    def at_image_size(self, instances: dict[str, Any], inner: Sequence[int], size: Sequence[int]) -> dict[str, Any]:
        """Return the instances of a resized image, of size ``inner``, with their boxes at the original's ``size``."""
        return {**instances, "boxes": resize_boxes(instances["boxes"], list(inner), list(size))}

    def classifier(self) -> nn.Module:
        """Return the layers of the boxes' classes and offsets, and that of the masks."""
        return nn.ModuleList([self.box_predictor, self.mask_predictor.get_submodule("mask_fcn_logits")])

    def probe(self, maps: Sequence[Tensor], boxes: Tensor, masks: int) -> list[Tensor]:
        """Return the raw outputs for given boxes, without a choice that depends on values.

        Args:
            maps: of one image, finest first. RoIAlign reads the first; another pool of boxes reads what its own
                ``probe`` says.
            boxes: (N, 4), x1 y1 x2 y2 in its pixels.
            masks: number of the first boxes whose masks are computed.

        Returns:
            Logits (N, K), offsets (N, 4 K) and mask logits (masks, K, 28, 28).
        """
        if isinstance(self.box_roi_pool, MultiScaleRoIAlign):
            regions = roi_align(maps[0], [boxes], BOX_SIDE, sampling_ratio=2)
        else:
            regions = self.box_roi_pool.probe(maps, boxes)
        logits, offsets = self.box_predictor(self.box_head(regions))
        regions = roi_align(maps[0], [boxes[:masks]], MASK_SIDE, sampling_ratio=2)
        return [logits, offsets, self.mask_predictor(self.mask_head(regions))]


def make_roi_heads(
    channels: int, num_classes: int, box_width: int, mask_width: int, box_pool: nn.Module | None = None
) -> MaskRoIHeads:
    """Return the heads of the paper: two linear layers for boxes, four 3x3 convolutions for masks.

    Args:
        channels: C of the maps.
        num_classes: K.
        box_width, mask_width: channels of the layers.
        box_pool: of :class:`MaskRoIHeads`.
    """
    return MaskRoIHeads(
        TwoMLPHead(channels * BOX_SIDE**2, box_width),
        FastRCNNPredictor(box_width, num_classes),
        MaskRCNNHeads(channels, (mask_width,) * 4, 1),
        MaskRCNNPredictor(mask_width, mask_width, num_classes),
        box_pool,
    )


def make_normed_roi_heads(channels: int, num_classes: int, box_width: int, mask_width: int) -> MaskRoIHeads:
    """Return the heads of torchvision's second version (Li et al., 2021, Sec. 2).

    Four 3x3 convolutions and a linear layer for boxes, four 3x3 convolutions for masks, each convolution with batch
    norm.
    """
    norm = nn.BatchNorm2d
    return MaskRoIHeads(
        FastRCNNConvFCHead((channels, BOX_SIDE, BOX_SIDE), [channels] * 4, [box_width], norm_layer=norm),
        FastRCNNPredictor(box_width, num_classes),
        MaskRCNNHeads(channels, (mask_width,) * 4, 1, norm_layer=norm),
        MaskRCNNPredictor(mask_width, mask_width, num_classes),
    )
