"""DenseASPP, DeepLabV3 and DeepLabV3+: dilated convolutions as context of the last map of a dilated backbone.

DenseASPP (Yang et al., CVPR 2018) chains dilated convolutions densely. DeepLabV3 (Chen et al., 2017) sets them side by
side, and DeepLabV3+ (Chen et al., ECCV 2018) refines the result with a shallow map. As in PSPNet, an auxiliary head on
the map before the last helps training.

Published results (GFF, Cityscapes val): DenseASPP on DenseNet-121 78.9.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..backbones.spec import BackboneSpec
from ..registry import register_models
from .pspnet import STRIDES, auxiliary_heads

if TYPE_CHECKING:
    from ..segmenters.segmenter import Segmenter


def denseaspp(
    backbone: BackboneSpec,
    num_classes: int = 21,
    freeze_bn: bool = False,
    *,
    context_width: int = 512,
    auxiliary: bool = True,
    auxiliary_width: int = 512,
) -> Segmenter:
    """Build a dilated network with densely chained dilated convolutions on its last map.

    Args:
        backbone: a timm model, or "wider_resnet38".
        num_classes: K.
        freeze_bn: keep the statistics of the backbone's batch norm in training.
        context_width: channels between the dilated convolutions.
        auxiliary: a second head (3x3, 1x1) on the map before the last, for training.
        auxiliary_width: channels of its 3x3 convolution.
    """
    from ..heads.context import ContextHead
    from ..heads.dense_aspp import DenseASPP
    from ..segmenters.segmenter import Segmenter

    pyramid = backbone.pyramid(STRIDES)
    head = ContextHead(num_classes, DenseASPP(pyramid.channels[-1], context_width))
    extra = auxiliary_heads(pyramid.channels, num_classes, auxiliary_width) if auxiliary else {}
    return Segmenter(pyramid, head, num_classes, backbone.in_chans, freeze_bn, auxiliary=extra)


def deeplabv3(
    backbone: BackboneSpec,
    num_classes: int = 21,
    freeze_bn: bool = False,
    *,
    context_width: int = 256,
    auxiliary: bool = True,
    auxiliary_width: int = 256,
    dilate_stage_entries: bool = False,
) -> Segmenter:
    """Build a dilated network with atrous pooling of its last map and a 3x3 convolution after it, as torchvision does.

    Args:
        backbone: a timm model, or "wider_resnet38".
        num_classes: K.
        freeze_bn: keep the statistics of the backbone's batch norm in training.
        context_width: channels of the context map.
        auxiliary: a second head (3x3, 1x1) on the map before the last, for training.
        auxiliary_width: channels of its 3x3 convolution.
        dilate_stage_entries: dilate the convolutions that lost their stride too, as torchvision's MobileNetV3.
    """
    from ..backbones import dilation
    from ..heads.context import ContextHead
    from ..heads.deeplab import AtrousPooling
    from ..segmenters.segmenter import Segmenter

    pyramid = backbone.pyramid(STRIDES)
    if dilate_stage_entries:
        dilation.dilate_stage_entries(pyramid)
    head = ContextHead(num_classes, AtrousPooling(pyramid.channels[-1], context_width), refine=True)
    extra = auxiliary_heads(pyramid.channels, num_classes, auxiliary_width) if auxiliary else {}
    return Segmenter(pyramid, head, num_classes, backbone.in_chans, freeze_bn, auxiliary=extra)


def deeplabv3plus(
    backbone: BackboneSpec,
    num_classes: int = 21,
    freeze_bn: bool = False,
    *,
    context_width: int = 256,
    auxiliary: bool = True,
    auxiliary_width: int = 512,
) -> Segmenter:
    """Build a dilated network with atrous pooling of its last map, refined with the map at stride 4.

    Args:
        backbone: a timm model, or "wider_resnet38".
        num_classes: K.
        freeze_bn: keep the statistics of the backbone's batch norm in training.
        context_width: channels of the context map.
        auxiliary: a second head (3x3, 1x1) on the map before the last, for training.
        auxiliary_width: channels of its 3x3 convolution.
    """
    from ..heads.deeplab import AtrousPooling, DeepLabV3PlusHead
    from ..segmenters.segmenter import Segmenter

    pyramid = backbone.pyramid((4, *STRIDES))
    head = DeepLabV3PlusHead(pyramid.channels[0], num_classes, AtrousPooling(pyramid.channels[-1], context_width))
    extra = auxiliary_heads(pyramid.channels, num_classes, auxiliary_width) if auxiliary else {}
    return Segmenter(pyramid, head, num_classes, backbone.in_chans, freeze_bn, auxiliary=extra)


register_models(
    denseaspp,
    {
        "denseaspp_densenet121": dict(backbone="densenet121"),
        "test_denseaspp": dict(backbone="test_resnet", context_width=32, auxiliary_width=16),
    },
    family="deeplab",
    paper="DenseASPP: densely connected atrous spatial pyramid pooling (Yang et al., CVPR 2018)",
    output_stride=8,
    retired_kwargs=dict(context="dense_aspp", refine=False, decoder=False, dilate_stage_entries=False),
)
register_models(
    deeplabv3,
    {
        "deeplabv3_resnet50": dict(backbone="resnet50"),
        "deeplabv3_resnet101": dict(backbone="resnet101"),
        "deeplabv3_mobilenetv3_large": dict(backbone="mobilenetv3_large_100", output_stride=16),
        "test_deeplabv3": dict(backbone="test_resnet", context_width=32, auxiliary_width=16),
    },
    family="deeplab",
    paper="DeepLabV3: rethinking atrous convolution (Chen et al., 2017)",
    output_stride=8,
    retired_kwargs=dict(context="atrous_pooling", refine=True, decoder=False),
)
register_models(
    deeplabv3plus,
    {
        "deeplabv3plus_wrn38": dict(backbone="wider_resnet38"),
        "test_deeplabv3plus": dict(backbone="test_resnet", context_width=32, auxiliary_width=16),
    },
    family="deeplab",
    paper="DeepLabV3+: encoder and decoder with atrous separable convolution (Chen et al., ECCV 2018)",
    output_stride=8,
    retired_kwargs=dict(context="atrous_pooling", refine=False, decoder=True, dilate_stage_entries=False),
)
