"""Feature pyramid baselines: FPN (Lin et al., CVPR 2017) and, on it, Mask R-CNN (He et al., ICCV 2017).

Networks that fuse four maps of a backbone are compared with them. Pyramid and detection engine are torchvision's; the
semantic segmentation network classifies the finest map with one 1x1 convolution.
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
SMALL_HEADS: dict[str, Any] = dict(
    min_size=320, max_size=640, anchors=(16, 32, 64, 128, 256), box_width=128, mask_width=64
)
TINY_HEADS: dict[str, Any] = dict(min_size=96, max_size=160, anchors=(8, 16, 32, 64, 128), box_width=32, mask_width=16)


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
    from ..segmenters.instance import InstanceSegmenter

    pyramid = backbone.pyramid(STRIDES)
    return InstanceSegmenter(
        pyramid,
        FeaturePyramid(pyramid.channels, channels),
        channels,
        num_classes,
        backbone.in_chans,
        freeze_bn,
        min_size=min_size,
        max_size=max_size,
        anchors=anchors,
        box_width=box_width,
        mask_width=mask_width,
    )


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
        "maskrcnn_fpn_mobilenetv2": dict(**MOBILENETV2, channels=32, **SMALL_HEADS),
        "maskrcnn_fpn_lite0": dict(**LITE0, channels=32, **SMALL_HEADS),
        "test_maskrcnn_fpn": dict(backbone="test_resnet", channels=16, **TINY_HEADS),
    },
    family="fpn",
    paper="Mask R-CNN (He et al., ICCV 2017)",
    task="instance",
    output_stride=None,
)
