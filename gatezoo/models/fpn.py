"""Feature pyramid baselines: FPN (Lin et al., CVPR 2017) and, on it, Mask R-CNN (He et al., ICCV 2017).

Networks that fuse four maps of a backbone are compared with them. Pyramid and detection engine are torchvision's; the
semantic segmentation network classifies the finest map with one 1x1 convolution. ``maskrcnn_fpn_v2`` is torchvision's
second version of Mask R-CNN (Li et al., Benchmarking detection transfer learning with vision transformers, 2021).

Detectron, on which ZigZagNet's COCO baselines run, keeps the stem, the first stage and the scale, shift and statistics
of all norms of the backbone as they were pretrained. ``freeze_bn`` keeps the statistics of all its batch norms alone:
their scale and shift and all convolutions are trained. Training decides which parameters are not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..backbones.spec import BackboneSpec
from ..registry import register_models
from .fcn import LITE0, MOBILENETV2

if TYPE_CHECKING:
    from ..segmenters.instance import InstanceSegmenter
    from ..segmenters.segmenter import Segmenter

STRIDES = (4, 8, 16, 32)
# For images of a few hundred pixels: a smaller image size, smaller anchors, narrow heads.
SMALL_SIZES: dict[str, Any] = dict(min_size=320, max_size=640, anchors=(16, 32, 64, 128, 256))
TINY_SIZES: dict[str, Any] = dict(min_size=96, max_size=160, anchors=(8, 16, 32, 64, 128))
SMALL_HEADS: dict[str, Any] = dict(**SMALL_SIZES, box_width=128, mask_width=64)
TINY_HEADS: dict[str, Any] = dict(**TINY_SIZES, box_width=32, mask_width=16)


def fpn(backbone: BackboneSpec, num_classes: int = 21, freeze_bn: bool = False, *, channels: int = 256) -> Segmenter:
    """Build a classifier on the finest map of the feature pyramid.

    Args:
        backbone: a timm model with strides 4 8 16 32.
        num_classes: K.
        freeze_bn: keep the statistics of the backbone's batch norm in training.
        channels: C of the pyramid.
    """
    from ..heads.fcn import FinestHead, LinearHead
    from ..heads.fpn import FeaturePyramid
    from ..segmenters.segmenter import Segmenter

    pyramid = backbone.pyramid(STRIDES)
    head = FinestHead(FeaturePyramid(pyramid.channels, channels, 1), LinearHead(channels, num_classes))
    return Segmenter(pyramid, head, num_classes, backbone.in_chans, freeze_bn)


def maskrcnn_fpn(
    backbone: BackboneSpec,
    num_classes: int = 21,
    freeze_bn: bool = True,
    *,
    channels: int = 256,
    min_size: int = 800,
    max_size: int = 1333,
    anchors: tuple[int, ...] = (32, 64, 128, 256, 512),
    box_width: int = 1024,
    mask_width: int = 256,
) -> InstanceSegmenter:
    """Build Mask R-CNN on the feature pyramid.

    Args:
        backbone: a timm model with strides 4 8 16 32.
        num_classes: K, with the background, which is class 0.
        freeze_bn: keep the statistics of the backbone's batch norm in training.
        channels: C of the pyramid.
        min_size, max_size: images are resized so that the shorter side is min_size and the longer at most max_size.
        anchors: sides of the anchors on the five maps.
        box_width, mask_width: channels of the heads.
    """
    from ..heads.fpn import FeaturePyramid
    from ..heads.mask_rcnn import make_resize, make_roi_heads, make_rpn
    from ..segmenters.instance import InstanceSegmenter

    pyramid = backbone.pyramid(STRIDES)
    neck = FeaturePyramid(pyramid.channels, channels)
    roi_heads = make_roi_heads(channels, num_classes, box_width, mask_width)
    rpn = make_rpn(channels, anchors)
    resize = make_resize(min_size, max_size, pyramid.size_divisor)
    return InstanceSegmenter(pyramid, neck, resize, rpn, roi_heads, num_classes, backbone.in_chans, freeze_bn)


def maskrcnn_fpn_v2(
    backbone: BackboneSpec,
    num_classes: int = 21,
    freeze_bn: bool = False,
    *,
    channels: int = 256,
    min_size: int = 800,
    max_size: int = 1333,
    anchors: tuple[int, ...] = (32, 64, 128, 256, 512),
    box_width: int = 1024,
    mask_width: int = 256,
) -> InstanceSegmenter:
    """Build torchvision's second version of Mask R-CNN on the feature pyramid.

    Other than in the first, the pyramid and the heads have batch norms, the proposal network has two convolutions, and
    four convolutions and one linear layer classify boxes.

    Args:
        backbone: a timm model with strides 4 8 16 32.
        num_classes: K, with the background, which is class 0.
        freeze_bn: keep the statistics of the backbone's batch norm in training; torchvision does not.
        channels: C of the pyramid.
        min_size, max_size: images are resized so that the shorter side is min_size and the longer at most max_size.
        anchors: sides of the anchors on the five maps.
        box_width, mask_width: channels of the heads.
    """
    from torch import nn

    from ..heads.fpn import FeaturePyramid
    from ..heads.mask_rcnn import make_normed_roi_heads, make_resize, make_rpn
    from ..segmenters.instance import InstanceSegmenter

    pyramid = backbone.pyramid(STRIDES)
    neck = FeaturePyramid(pyramid.channels, channels, norm=nn.BatchNorm2d)
    roi_heads = make_normed_roi_heads(channels, num_classes, box_width, mask_width)
    rpn = make_rpn(channels, anchors, depth=2)
    resize = make_resize(min_size, max_size, pyramid.size_divisor)
    return InstanceSegmenter(pyramid, neck, resize, rpn, roi_heads, num_classes, backbone.in_chans, freeze_bn)


register_models(
    fpn,
    {
        "fpn_r50": dict(backbone="resnet50"),
        "fpn_r101": dict(backbone="resnet101"),
        "fpn_mobilenetv2": dict(**MOBILENETV2, channels=32),
        "fpn_lite0": dict(**LITE0, channels=32),
        "test_fpn": dict(backbone="test_resnet", channels=16),
    },
    family="fpn",
    paper="FPN: feature pyramid networks (Lin et al., CVPR 2017)",
    output_stride=None,
)
register_models(
    maskrcnn_fpn,
    {
        "maskrcnn_fpn_r50": dict(backbone="resnet50"),
        "maskrcnn_fpn_r101": dict(backbone="resnet101"),
        "maskrcnn_fpn_r152": dict(backbone="resnet152"),
        "maskrcnn_fpn_mobilenetv2": dict(**MOBILENETV2, channels=32, **SMALL_HEADS),
        "maskrcnn_fpn_lite0": dict(**LITE0, channels=32, **SMALL_HEADS),
        "test_maskrcnn_fpn": dict(backbone="test_resnet", channels=16, **TINY_HEADS),
    },
    family="fpn",
    paper="Mask R-CNN (He et al., ICCV 2017)",
    task="instance",
    output_stride=None,
)
register_models(
    maskrcnn_fpn_v2,
    {
        "maskrcnn_fpn_v2_r50": dict(backbone="resnet50"),
        "test_maskrcnn_fpn_v2": dict(backbone="test_resnet", channels=16, **TINY_HEADS),
    },
    family="fpn",
    paper="Benchmarking detection transfer learning with vision transformers (Li et al., 2021)",
    task="instance",
    output_stride=None,
)
