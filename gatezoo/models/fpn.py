"""Feature pyramid baselines: FPN (Lin et al., CVPR 2017) and, on it, Mask R-CNN (He et al., ICCV 2017).

What networks that fuse four maps of a backbone are measured against. Pyramid and detection engine are torchvision's;
a network of classes reads them off the finest map with one 1x1 convolution.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..registry import register_models
from .fcn import MOBILENETV2

if TYPE_CHECKING:
    from torch import nn

    from ..backbones.pyramid import Pyramid
    from ..segmenters.instance import InstanceSegmenter
    from ..segmenters.segmenter import Segmenter

STRIDES = (4, 8, 16, 32)
# For images of a few hundred pixels: smaller ones, smaller anchors, narrow heads.
SMALL_HEADS = dict(min_size=320, max_size=640, anchors=(16, 32, 64, 128, 256), box_width=128, mask_width=64)
TINY_HEADS = dict(min_size=96, max_size=160, anchors=(8, 16, 32, 64, 128), box_width=32, mask_width=16)


def fpn(
    backbone: str,
    channels: int = 256,
    num_classes: int = 21,
    in_chans: int = 3,
    pretrained_backbone: bool | str = False,
    backbone_args: dict[str, Any] | None = None,
    freeze_bn: bool = False,
) -> Segmenter:
    """Classes read off the finest map of the feature pyramid.

    Args:
        backbone: a timm model with strides 4 8 16 32.
        channels: C of the pyramid.
        num_classes: K.
        in_chans: channels of the image.
        pretrained_backbone: True for timm's weights, or a local file of them.
        backbone_args: further keywords of the timm model.
        freeze_bn: keep the statistics of the backbone's batch norm in training.
    """
    from ..heads.fcn import FinestHead, LinearHead
    from ..heads.fpn import FeaturePyramid
    from ..segmenters.segmenter import Segmenter

    pyramid = four_maps(backbone, in_chans, pretrained_backbone, backbone_args)
    head = FinestHead(FeaturePyramid(pyramid.channels, channels, 1), LinearHead(channels, num_classes))
    return Segmenter(pyramid, head, num_classes, in_chans, freeze_bn)


def maskrcnn_fpn(
    backbone: str,
    channels: int = 256,
    min_size: int = 800,
    max_size: int = 1333,
    anchors: tuple[int, ...] = (32, 64, 128, 256, 512),
    box_width: int = 1024,
    mask_width: int = 256,
    num_classes: int = 21,
    in_chans: int = 3,
    pretrained_backbone: bool | str = False,
    backbone_args: dict[str, Any] | None = None,
    freeze_bn: bool = True,
) -> InstanceSegmenter:
    """Mask R-CNN on the feature pyramid; further keywords as of :func:`fpn`.

    Args:
        backbone: a timm model with strides 4 8 16 32.
        channels: C of the pyramid.
        min_size, max_size: images are resized so that the shorter side is min_size and the longer at most max_size.
        anchors: sides of the anchors on the five maps.
        box_width, mask_width: channels of the heads.
        num_classes: with the background, which is class 0.
    """
    from ..heads.fpn import FeaturePyramid

    pyramid = four_maps(backbone, in_chans, pretrained_backbone, backbone_args)
    neck = FeaturePyramid(pyramid.channels, channels)
    heads = dict(min_size=min_size, max_size=max_size, anchors=anchors, box_width=box_width, mask_width=mask_width)
    return mask_rcnn(pyramid, neck, channels, num_classes, in_chans, freeze_bn, heads)


def four_maps(backbone: str, in_chans: int, pretrained: bool | str, backbone_args: dict[str, Any] | None) -> Pyramid:
    """The backbone of a network that fuses four maps."""
    from ..backbones.pyramid import Pyramid

    return Pyramid(backbone, STRIDES, in_chans=in_chans, pretrained=pretrained, backbone_args=backbone_args)


def mask_rcnn(
    pyramid: Pyramid,
    neck: nn.Module,
    channels: int,
    num_classes: int,
    in_chans: int,
    freeze_bn: bool,
    heads: dict[str, Any],
) -> InstanceSegmenter:
    """Mask R-CNN on the maps of a neck."""
    from ..segmenters.instance import InstanceSegmenter

    return InstanceSegmenter(pyramid, neck, channels, num_classes, in_chans, freeze_bn, **heads)


register_models(
    fpn,
    {
        "fpn_r50": dict(backbone="resnet50"),
        "fpn_r101": dict(backbone="resnet101"),
        "fpn_mobilenetv2": dict(**MOBILENETV2, channels=32),
        "test_fpn": dict(backbone="test_resnet", channels=16),
    },
)
register_models(
    maskrcnn_fpn,
    {
        "maskrcnn_fpn_r50": dict(backbone="resnet50"),
        "maskrcnn_fpn_r101": dict(backbone="resnet101"),
        "maskrcnn_fpn_mobilenetv2": dict(**MOBILENETV2, channels=32, **SMALL_HEADS),
        "test_maskrcnn_fpn": dict(backbone="test_resnet", channels=16, **TINY_HEADS),
    },
    task="instance",
)
