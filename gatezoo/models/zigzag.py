"""ZigZagNet: fusing top-down and bottom-up context for object segmentation (Lin et al., CVPR 2019).

Each of four maps of a backbone receives context from all higher ones in a top-down pathway, then from all lower ones
in a bottom-up one; the results are exchanged and fused over three stages. The semantic segmentation network classifies
the finest map; for instances Mask R-CNN reads all four.

Published results (ResNet-101): PASCAL VOC 2012 val 82.5 -> 86.0 mIoU (Table 1, from an encoder and a decoder), COCO val
37.5 -> 39.5 mask AP (Table 4, from Mask R-CNN).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..backbones.spec import BackboneSpec
from ..registry import register_models
from ..utils.choices import check_choice
from .fcn import LITE0, MOBILENETV2
from .fpn import SMALL_HEADS, STRIDES, TINY_HEADS

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import nn

    from ..backbones.pyramid import Pyramid
    from ..backbones.wide_resnet import WiderResNet38
    from ..gates.zigzag import ZigZag
    from ..segmenters.instance import InstanceSegmenter
    from ..segmenters.segmenter import Segmenter

PAPER = "ZigZagNet: fusing top-down and bottom-up context for object segmentation (Lin et al., CVPR 2019)"


def zigzag(
    backbone: BackboneSpec,
    num_classes: int = 21,
    freeze_bn: bool = False,
    *,
    channels: int = 128,
    stages: int = 3,
    context: str = "region",
    regions: tuple[int, ...] = (3, 5, 7),
    groups: int = 1,
    pool: str = "mean",
    share_rce: bool = False,
    combine: str = "product",
    dense: bool = True,
    fusion: bool = True,
    bottom_up: bool = True,
    norm: bool = True,
    empty_regions: bool = True,
) -> Segmenter:
    """Build a classifier on the finest of the fused maps.

    Args:
        backbone: a timm model with strides 4 8 16 32.
        num_classes: K.
        freeze_bn: keep the statistics of the backbone's batch norm in training.
        channels: C of all fused maps.
        stages: T, exchanges between the two pathways; 1 is none (Table 1).
        context: how the maps of a pathway are encoded: "region", or one of Table 2's others, "global",
            "full_connection", "large_kernel", "pyramid_pooling" and "atrous_pooling", or "none"; see
            :func:`gatezoo.heads.level_context.make_level_context`.
        regions: K of the region context encoding; empty for none.
        groups: of its K x K convolutions.
        pool: inside a region: "mean", or "sum" as the paper has it, which ties the weights to one image size.
        share_rce: one encoding for each map and pathway in all stages.
        combine: of contexts: "product", or "sum" (Table 2).
        dense: pathways between all maps; else between neighbors (Table 1).
        fusion: False: one stage, read off its bottom-up maps (Table 1).
        bottom_up: False: one stage, top-down alone (Table 1).
        norm: norms that the paper does not have, without which numbers overflow from random weights.
        empty_regions: accept images whose coarsest map has fewer rows than regions; else "region" refuses them.
    """
    from ..gates.zigzag import ZigZag
    from ..heads.fcn import FinestHead, LinearHead
    from ..segmenters.segmenter import Segmenter
    from ..utils.images import MIN_SIZE

    pyramid = backbone.pyramid(STRIDES)
    fuse = ZigZag(
        pyramid.channels,
        channels,
        stages,
        outputs=1,
        encoder=_encoder(context, channels, regions, groups, pool),
        share_rce=share_rce,
        combine=combine,
        dense=dense,
        result="top_down" if not bottom_up else "fused" if fusion else "bottom_up",
        norm=norm,
    )
    most_regions = max(regions, default=1) if context == "region" and not empty_regions else 1
    min_size = max(MIN_SIZE, STRIDES[-1] * (most_regions - 1) + 1)
    head = FinestHead(fuse, LinearHead(channels, num_classes))
    return Segmenter(pyramid, head, num_classes, backbone.in_chans, freeze_bn, min_size=min_size)


def zigzag_maskrcnn(
    backbone: BackboneSpec,
    num_classes: int = 21,
    freeze_bn: bool = True,
    *,
    channels: int = 128,
    stages: int = 3,
    regions: tuple[int, ...] = (3, 5, 7),
    groups: int = 1,
    pool: str = "mean",
    share_rce: bool = False,
    combine: str = "product",
    dense: bool = True,
    norm: bool = True,
    min_size: int = 800,
    max_size: int = 1333,
    anchors: tuple[int, ...] = (32, 64, 128, 256, 512),
    box_width: int = 1024,
    mask_width: int = 256,
) -> InstanceSegmenter:
    """Build Mask R-CNN on the four fused maps.

    Each region reads one of them, by its size, as in FPN (Sec. 5); see :class:`gatezoo.heads.mask_rcnn.MaskRoIHeads`.
    The "pixel-wise softmax loss for mask regression" of Sec. 5 fits FCIS, one of Table 4's three detectors, whose masks
    are a softmax over inside and outside. Mask R-CNN's own is a sigmoid for each class, which is kept here.

    Args:
        backbone: a timm model with strides 4 8 16 32.
        num_classes: K, with the background, which is class 0.
        freeze_bn: keep the statistics of the backbone's batch norm in training.
        channels: C of all fused maps.
        stages: T, exchanges between the two pathways; 1 is none (Table 1).
        regions: K of the region context encoding; empty for none.
        groups: of its K x K convolutions.
        pool: inside a region: "mean", or "sum" as the paper has it, which ties the weights to one image size.
        share_rce: one encoding for each map and pathway in all stages.
        combine: of contexts: "product", or "sum" (Table 2).
        dense: pathways between all maps; else between neighbors (Table 1).
        norm: norms that the paper does not have, without which numbers overflow from random weights.
        min_size, max_size: images are resized so that the shorter side is min_size and the longer at most max_size.
        anchors: sides of the anchors on the five maps.
        box_width, mask_width: channels of the heads.
    """
    from ..heads.mask_rcnn import make_resize, make_roi_heads, make_rpn
    from ..segmenters.instance import InstanceSegmenter

    pyramid = backbone.pyramid(STRIDES)
    neck = zigzag_neck(pyramid, channels, stages, regions, groups, pool, share_rce, combine, dense, norm)
    roi_heads = make_roi_heads(channels, num_classes, box_width, mask_width)
    rpn = make_rpn(channels, anchors)
    resize = make_resize(min_size, max_size, pyramid.size_divisor)
    return InstanceSegmenter(pyramid, neck, resize, rpn, roi_heads, num_classes, backbone.in_chans, freeze_bn)


def zigzag_neck(
    pyramid: Pyramid | WiderResNet38,
    channels: int,
    stages: int,
    regions: tuple[int, ...],
    groups: int,
    pool: str,
    share_rce: bool,
    combine: str,
    dense: bool,
    norm: bool,
) -> ZigZag:
    """Return the neck of detectors: four maps of a backbone -> four fused maps, by region context encoding.

    Args:
        pyramid: backbone of strides 4 8 16 32.
        channels, stages, regions, groups, pool, share_rce, combine, dense, norm: see :func:`zigzag_maskrcnn`.
    """
    from ..gates.zigzag import ZigZag

    return ZigZag(
        pyramid.channels,
        channels,
        stages,
        encoder=_encoder("region", channels, regions, groups, pool),
        share_rce=share_rce,
        combine=combine,
        dense=dense,
        norm=norm,
    )


def _encoder(
    context: str, channels: int, regions: tuple[int, ...], groups: int, pool: str
) -> Callable[[int], nn.Module]:
    """Return the function from the number of a level, 0 the finest, to the encoding of its map."""
    from ..gates.region_context import RegionContext
    from ..heads.level_context import LEVEL_CONTEXTS, make_level_context

    check_choice("context", context, ("region", *LEVEL_CONTEXTS))
    if context == "region":
        return lambda level: RegionContext(channels, regions, groups, pool)
    return lambda level: make_level_context(context, channels, STRIDES[level])


# For small backbones: narrow, with grouped encoders that all stages share; they stay smaller than the backbone.
SMALL: dict[str, Any] = dict(channels=32, groups=4, share_rce=True)
# Table 1: the top-down pathway between neighbors, without encoding; the bottom-up maps alone; both
# pathways, fused once; exchanges between neighbors.
ENCODER_DECODER: dict[str, Any] = dict(stages=1, bottom_up=False, dense=False, regions=())
NO_FUSION: dict[str, Any] = dict(stages=1, fusion=False)
NO_EXCHANGE: dict[str, Any] = dict(stages=1)
ADJACENT: dict[str, Any] = dict(dense=False)

register_models(
    zigzag,
    {
        "zigzag_r50": dict(backbone="resnet50"),
        "zigzag_r101": dict(backbone="resnet101"),
        "zigzag_r152": dict(backbone="resnet152"),
        # The rows of Table 1.
        "zigzag_r101_encoder_decoder": dict(backbone="resnet101", **ENCODER_DECODER),
        "zigzag_r101_no_fusion": dict(backbone="resnet101", **NO_FUSION),
        "zigzag_r101_no_exchange": dict(backbone="resnet101", **NO_EXCHANGE),
        "zigzag_r101_adjacent": dict(backbone="resnet101", **ADJACENT),
        # The rows of Table 2: five other contexts in place of the region context encoding, and the sum of contexts.
        "zigzag_r101_global": dict(backbone="resnet101", context="global"),
        "zigzag_r101_full_connection": dict(backbone="resnet101", context="full_connection"),
        "zigzag_r101_large_kernel": dict(backbone="resnet101", context="large_kernel"),
        "zigzag_r101_pyramid_pooling": dict(backbone="resnet101", context="pyramid_pooling"),
        "zigzag_r101_atrous_pooling": dict(backbone="resnet101", context="atrous_pooling"),
        "zigzag_r101_sum": dict(backbone="resnet101", combine="sum"),
        # The same on small backbones, with fewer channels.
        "zigzag_mobilenetv2": dict(**MOBILENETV2, **SMALL),
        "zigzag_mobilenetv2_encoder_decoder": dict(**MOBILENETV2, **SMALL, **ENCODER_DECODER),
        "zigzag_mobilenetv2_no_fusion": dict(**MOBILENETV2, **SMALL, **NO_FUSION),
        "zigzag_mobilenetv2_no_exchange": dict(**MOBILENETV2, **SMALL, **NO_EXCHANGE),
        "zigzag_mobilenetv2_adjacent": dict(**MOBILENETV2, **SMALL, **ADJACENT),
        "zigzag_lite0": dict(**LITE0, **SMALL),
        "zigzag_lite0_encoder_decoder": dict(**LITE0, **SMALL, **ENCODER_DECODER),
        "zigzag_lite0_no_fusion": dict(**LITE0, **SMALL, **NO_FUSION),
        "test_zigzag": dict(backbone="test_resnet", channels=16, stages=2, regions=(3, 5)),
        "test_zigzag_context": dict(backbone="test_resnet", channels=16, stages=2, context="full_connection"),
    },
    family="zigzag",
    paper=PAPER,
    output_stride=None,
)
register_models(
    zigzag_maskrcnn,
    {
        "zigzag_maskrcnn_r50": dict(backbone="resnet50"),
        "zigzag_maskrcnn_r101": dict(backbone="resnet101"),
        "zigzag_maskrcnn_r152": dict(backbone="resnet152"),
        "zigzag_maskrcnn_mobilenetv2": dict(**MOBILENETV2, **SMALL, **SMALL_HEADS),
        "zigzag_maskrcnn_lite0": dict(**LITE0, **SMALL, **SMALL_HEADS),
        "test_zigzag_maskrcnn": dict(backbone="test_resnet", channels=16, **TINY_HEADS),
    },
    family="zigzag",
    paper=PAPER,
    task="instance",
    output_stride=None,
)
