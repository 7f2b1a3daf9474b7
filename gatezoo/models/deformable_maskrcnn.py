"""Deformable Mask R-CNN, on the feature pyramid and on ZigZagNet's maps.

ZigZagNet's Table 4 lists a "Deformable RCNN" without and with its maps: COCO val mask AP 36.1 -> 38.2 (ResNet-101),
37.9 -> 39.8 (ResNet-152). No publication describes that network. "Deformable convolutional networks" (Dai et al., ICCV
2017), which the paper cites for it, detects boxes, and its authors' code has no mask head; the 35.7 that ZigZagNet's
Table 5 gives for it on COCO test-dev is the box AP of their R-FCN there. What is built here is the nearest network that
has masks: deformable convolutions in the backbone, deformable RoI pooling before the box head, and Mask R-CNN's mask
head. The table's figures stand beside it for orientation; they are not known to be of this network.

With all offsets zero, as before training, it is the Mask R-CNN of :mod:`gatezoo.models.fpn` or
:mod:`gatezoo.models.zigzag` with the same weights.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..backbones.spec import BackboneSpec
from ..registry import register_models
from .fcn import LITE0, MOBILENETV2
from .fpn import SMALL_HEADS, STRIDES, TINY_HEADS
from .zigzag import PAPER, SMALL, zigzag_neck

if TYPE_CHECKING:
    from ..segmenters.instance import InstanceSegmenter


def deformable_maskrcnn_fpn(
    backbone: BackboneSpec,
    num_classes: int = 21,
    freeze_bn: bool = True,
    *,
    deform: str = "pyramid",
    offset_layers: int = 1,
    channels: int = 256,
    min_size: int = 800,
    max_size: int = 1333,
    anchors: tuple[int, ...] = (32, 64, 128, 256, 512),
    proposals: int | None = None,
    box_width: int = 1024,
    mask_width: int = 256,
) -> InstanceSegmenter:
    """Build Deformable Mask R-CNN on the feature pyramid.

    Args:
        backbone: a timm model with strides 4 8 16 32 and 3x3 convolutions.
        num_classes: K, with the background, which is class 0.
        freeze_bn: keep the statistics of the backbone's batch norm in training.
        deform: which convolutions are deformable: "pyramid", the last block of res3 and of res4 and all of res5; "res5"
            or "c3-c5", all blocks of these; see :func:`gatezoo.backbones.deformable.make_deformable`.
        offset_layers: linear layers from a region to the offsets of its bins; see
            :class:`gatezoo.heads.deformable_pooling.DeformableRoIPool`.
        channels: C of the pyramid.
        min_size, max_size: images are resized so that the shorter side is min_size and the longer at most max_size.
        anchors: sides of the anchors on the five maps.
        proposals: regions of an image at most; by default 2000 in training and 1000 in evaluation.
        box_width, mask_width: channels of the heads.
    """
    from ..backbones.deformable import make_deformable
    from ..heads.deformable_pooling import DeformableRoIPool
    from ..heads.fpn import FeaturePyramid
    from ..heads.mask_rcnn import make_resize, make_roi_heads, make_rpn
    from ..segmenters.instance import InstanceSegmenter

    pyramid = backbone.pyramid(STRIDES)
    make_deformable(pyramid, deform)
    neck = FeaturePyramid(pyramid.channels, channels)
    box_pool = DeformableRoIPool(channels, offset_layers)
    roi_heads = make_roi_heads(channels, num_classes, box_width, mask_width, box_pool)
    rpn = make_rpn(channels, anchors, proposals=proposals)
    resize = make_resize(min_size, max_size, pyramid.size_divisor)
    return InstanceSegmenter(pyramid, neck, resize, rpn, roi_heads, num_classes, backbone.in_chans, freeze_bn)


def zigzag_deformable_maskrcnn(
    backbone: BackboneSpec,
    num_classes: int = 21,
    freeze_bn: bool = True,
    *,
    deform: str = "pyramid",
    offset_layers: int = 1,
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
    proposals: int | None = None,
    box_width: int = 1024,
    mask_width: int = 256,
) -> InstanceSegmenter:
    """Build Deformable Mask R-CNN on ZigZagNet's four fused maps.

    Args:
        backbone: a timm model with strides 4 8 16 32 and 3x3 convolutions.
        num_classes: K, with the background, which is class 0.
        freeze_bn: keep the statistics of the backbone's batch norm in training.
        deform, offset_layers, proposals: as of :func:`deformable_maskrcnn_fpn`.
        channels: C of all fused maps.
        stages, regions, groups, pool, share_rce, combine, dense, norm: of the fused maps; as of
            :func:`gatezoo.models.zigzag.zigzag_maskrcnn`.
        min_size, max_size: images are resized so that the shorter side is min_size and the longer at most max_size.
        anchors: sides of the anchors on the five maps.
        box_width, mask_width: channels of the heads.
    """
    from ..backbones.deformable import make_deformable
    from ..heads.deformable_pooling import DeformableRoIPool
    from ..heads.mask_rcnn import make_resize, make_roi_heads, make_rpn
    from ..segmenters.instance import InstanceSegmenter

    pyramid = backbone.pyramid(STRIDES)
    make_deformable(pyramid, deform)
    neck = zigzag_neck(pyramid, channels, stages, regions, groups, pool, share_rce, combine, dense, norm)
    box_pool = DeformableRoIPool(channels, offset_layers)
    roi_heads = make_roi_heads(channels, num_classes, box_width, mask_width, box_pool)
    rpn = make_rpn(channels, anchors, proposals=proposals)
    resize = make_resize(min_size, max_size, pyramid.size_divisor)
    return InstanceSegmenter(pyramid, neck, resize, rpn, roi_heads, num_classes, backbone.in_chans, freeze_bn)


# For small backbones: fewer regions too.
SMALL_DEFORMABLE: dict[str, Any] = dict(**SMALL_HEADS, proposals=300)

register_models(
    deformable_maskrcnn_fpn,
    {
        "deformable_maskrcnn_fpn_r50": dict(backbone="resnet50"),
        "deformable_maskrcnn_fpn_r101": dict(backbone="resnet101"),
        "deformable_maskrcnn_fpn_r152": dict(backbone="resnet152"),
        "deformable_maskrcnn_fpn_lite0": dict(**LITE0, channels=32, **SMALL_DEFORMABLE),
        "test_deformable_maskrcnn": dict(backbone="test_resnet", channels=16, **TINY_HEADS),
    },
    family="deformable_maskrcnn",
    paper="Deformable convolutional networks (Dai et al., ICCV 2017)",
    task="instance",
    output_stride=None,
)
register_models(
    zigzag_deformable_maskrcnn,
    {
        "zigzag_deformable_maskrcnn_r50": dict(backbone="resnet50"),
        "zigzag_deformable_maskrcnn_r101": dict(backbone="resnet101"),
        "zigzag_deformable_maskrcnn_r152": dict(backbone="resnet152"),
        "zigzag_deformable_maskrcnn_mobilenetv2": dict(**MOBILENETV2, **SMALL, **SMALL_DEFORMABLE),
        "zigzag_deformable_maskrcnn_lite0": dict(**LITE0, **SMALL, **SMALL_DEFORMABLE),
        "test_zigzag_deformable_maskrcnn": dict(backbone="test_resnet", channels=16, **TINY_HEADS),
    },
    family="deformable_maskrcnn",
    paper=PAPER,
    task="instance",
    output_stride=None,
)
