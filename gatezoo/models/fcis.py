"""FCIS: fully convolutional instance-aware semantic segmentation (Li et al., CVPR 2017), plain and on pyramids.

``fcis_*`` is the authors' network: one map of stride 16 of a dilated backbone. ``fcis_fpn_*`` reads a feature pyramid,
and ``zigzag_fcis_*`` the four fused maps of ZigZagNet (Lin et al., CVPR 2019), whose Table 4 compares it with the first
on COCO val: 29.2 -> 32.2 mask AP with ResNet-101. The "pixel-wise softmax loss for mask regression" there is FCIS's
softmax over outside and inside. Heads on a pyramid are shared by its levels, and have 256 channels in place of 1024: a
choice, on which the paper is silent.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..backbones.spec import BackboneSpec
from ..registry import register_models
from .fcn import LITE0, MOBILENETV2
from .fpn import SMALL_SIZES, STRIDES, TINY_SIZES
from .zigzag import PAPER as ZIGZAG_PAPER
from .zigzag import SMALL, zigzag_neck

if TYPE_CHECKING:
    from ..segmenters.instance import InstanceSegmenter

PAPER = "FCIS: fully convolutional instance-aware semantic segmentation (Li et al., CVPR 2017)"
# Of an image, in training and in evaluation.
PROPOSALS = 300


def fcis(
    backbone: BackboneSpec,
    num_classes: int = 21,
    freeze_bn: bool = True,
    *,
    min_size: int = 600,
    max_size: int = 1000,
    anchors: tuple[int, ...] = (64, 128, 256, 512),
    rpn_width: int = 512,
    width: int = 1024,
    cells: int = 7,
    bins: int = 21,
    nms: float = 0.3,
    ohem: int = 128,
    vote: str = "class",
) -> InstanceSegmenter:
    """Build FCIS on the last map of a dilated backbone; proposals read the map before it.

    timm dilates the first 3x3 convolution of the last stage by 1, the authors by 2.

    Args:
        backbone: a timm model.
        num_classes: K, with the background, which is class 0.
        freeze_bn: keep the statistics of the backbone's batch norm in training.
        min_size, max_size: images are resized so that the shorter side is min_size and the longer at most max_size.
        anchors: sides of the anchors at each place.
        rpn_width: channels of the proposal network.
        width: channels of the layer before the scores.
        cells: k, position-sensitive cells on each side of a region.
        bins: on each side of a region and of its mask; a multiple of the cells.
        nms: IoU of two instances of a class above which the less certain is dropped.
        ohem: hardest regions of each image that are trained; 0: 128 at random.
        vote: masks that vote on an instance's: "class", those of its class, as in the paper; "best", that of each
            candidate's best class, as in the authors' code; "none", each instance keeps its own.
    """
    from torch import nn

    from ..heads.fcis import FCISRoIHeads
    from ..heads.mask_rcnn import make_resize, make_single_map_rpn
    from ..heads.position_sensitive import CellGrid
    from ..segmenters.instance import SingleMapInstanceSegmenter

    pyramid = backbone.pyramid(STRIDES[2:])
    rpn = make_single_map_rpn(pyramid.channels[0], anchors, rpn_width, PROPOSALS)
    grid = CellGrid(cells, bins)
    roi_heads = FCISRoIHeads(pyramid.channels[1], num_classes, pyramid.strides[1:], width, grid, nms, ohem, vote)
    resize = make_resize(min_size, max_size, pyramid.size_divisor)
    return SingleMapInstanceSegmenter(
        pyramid, nn.Identity(), resize, rpn, roi_heads, num_classes, backbone.in_chans, freeze_bn
    )


def fcis_fpn(
    backbone: BackboneSpec,
    num_classes: int = 21,
    freeze_bn: bool = True,
    *,
    channels: int = 256,
    min_size: int = 800,
    max_size: int = 1333,
    anchors: tuple[int, ...] = (32, 64, 128, 256, 512),
    width: int = 256,
    cells: int = 7,
    bins: int = 21,
    nms: float = 0.5,
    ohem: int = 128,
    vote: str = "class",
) -> InstanceSegmenter:
    """Build FCIS on the feature pyramid, with which FCIS on ZigZagNet is compared: image sizes and NMS are those.

    Args:
        backbone: a timm model with strides 4 8 16 32.
        num_classes: K, with the background, which is class 0.
        freeze_bn: keep the statistics of the backbone's batch norm in training.
        channels: C of the pyramid.
        min_size, max_size: images are resized so that the shorter side is min_size and the longer at most max_size.
        anchors: sides of the anchors on the five maps.
        width: channels of the layer before the scores.
        cells: k, position-sensitive cells on each side of a region.
        bins: on each side of a region and of its mask; a multiple of the cells.
        nms: IoU of two instances of a class above which the less certain is dropped.
        ohem: hardest regions of each image that are trained; 0: 128 at random.
        vote: masks that vote on an instance's: "class", those of its class, as in the paper; "best", that of each
            candidate's best class, as in the authors' code; "none", each instance keeps its own.
    """
    from ..heads.fcis import FCISRoIHeads
    from ..heads.fpn import FeaturePyramid
    from ..heads.mask_rcnn import make_resize, make_rpn
    from ..heads.position_sensitive import CellGrid
    from ..segmenters.instance import InstanceSegmenter

    pyramid = backbone.pyramid(STRIDES)
    neck = FeaturePyramid(pyramid.channels, channels)
    roi_heads = FCISRoIHeads(channels, num_classes, STRIDES, width, CellGrid(cells, bins), nms, ohem, vote)
    rpn = make_rpn(channels, anchors, proposals=PROPOSALS)
    resize = make_resize(min_size, max_size, pyramid.size_divisor)
    return InstanceSegmenter(pyramid, neck, resize, rpn, roi_heads, num_classes, backbone.in_chans, freeze_bn)


def zigzag_fcis(
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
    width: int = 256,
    cells: int = 7,
    bins: int = 21,
    nms: float = 0.5,
    ohem: int = 128,
    vote: str = "class",
) -> InstanceSegmenter:
    """Build FCIS on ZigZagNet's four fused maps.

    Image sizes and NMS are ZigZagNet's (Sec. 5).

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
        width: channels of the layer before the scores.
        cells: k, position-sensitive cells on each side of a region.
        bins: on each side of a region and of its mask; a multiple of the cells.
        nms: IoU of two instances of a class above which the less certain is dropped.
        ohem: hardest regions of each image that are trained; 0: 128 at random.
        vote: masks that vote on an instance's: "class", those of its class, as in the paper; "best", that of each
            candidate's best class, as in the authors' code; "none", each instance keeps its own.
    """
    from ..heads.fcis import FCISRoIHeads
    from ..heads.mask_rcnn import make_resize, make_rpn
    from ..heads.position_sensitive import CellGrid
    from ..segmenters.instance import InstanceSegmenter

    pyramid = backbone.pyramid(STRIDES)
    neck = zigzag_neck(pyramid, channels, stages, regions, groups, pool, share_rce, combine, dense, norm)
    roi_heads = FCISRoIHeads(channels, num_classes, STRIDES, width, CellGrid(cells, bins), nms, ohem, vote)
    rpn = make_rpn(channels, anchors, proposals=PROPOSALS)
    resize = make_resize(min_size, max_size, pyramid.size_divisor)
    return InstanceSegmenter(pyramid, neck, resize, rpn, roi_heads, num_classes, backbone.in_chans, freeze_bn)


# For images of a few hundred pixels.
SMALL_FCIS: dict[str, Any] = dict(**SMALL_SIZES, width=64)
TINY_FCIS: dict[str, Any] = dict(**TINY_SIZES, width=32)

register_models(
    fcis,
    {
        "fcis_r50": dict(backbone="resnet50"),
        "fcis_r101": dict(backbone="resnet101"),
        "fcis_r152": dict(backbone="resnet152"),
        "test_fcis": dict(
            backbone="test_resnet", min_size=96, max_size=160, anchors=(16, 32, 64, 128), rpn_width=16, width=32
        ),
    },
    family="fcis",
    paper=PAPER,
    task="instance",
    output_stride=16,
)
register_models(
    fcis_fpn,
    {
        "fcis_fpn_r50": dict(backbone="resnet50"),
        "fcis_fpn_r101": dict(backbone="resnet101"),
        "fcis_fpn_mobilenetv2": dict(**MOBILENETV2, channels=32, **SMALL_FCIS),
        "fcis_fpn_lite0": dict(**LITE0, channels=32, **SMALL_FCIS),
        "test_fcis_fpn": dict(backbone="test_resnet", channels=16, **TINY_FCIS),
    },
    family="fcis",
    paper=PAPER,
    task="instance",
    output_stride=None,
)
register_models(
    zigzag_fcis,
    {
        "zigzag_fcis_r50": dict(backbone="resnet50"),
        "zigzag_fcis_r101": dict(backbone="resnet101"),
        "zigzag_fcis_r152": dict(backbone="resnet152"),
        "zigzag_fcis_mobilenetv2": dict(**MOBILENETV2, **SMALL, **SMALL_FCIS),
        "zigzag_fcis_lite0": dict(**LITE0, **SMALL, **SMALL_FCIS),
        "test_zigzag_fcis": dict(backbone="test_resnet", channels=16, **TINY_FCIS),
    },
    family="fcis",
    paper=ZIGZAG_PAPER,
    task="instance",
    output_stride=None,
)
