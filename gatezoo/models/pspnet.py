"""PSPNet, DenseASPP, DeepLabV3 and DeepLabV3+: the baselines that gated fully fusion is added to.

PSPNet (Zhao et al., CVPR 2017) pools the last map of a dilated backbone to grids of 1, 2, 3 and 6 and reads both.
DenseASPP (Yang et al., CVPR 2018) chains dilated convolutions densely. DeepLabV3 (Chen et al., 2017) sets them side by
side, and DeepLabV3+ (ECCV 2018) refines what comes out with a shallow map. An auxiliary head on the map before the
last helps training.

Published results (GFF, Cityscapes val): PSPNet on ResNet-101 78.6, on ResNet-18 73.0, DenseASPP on DenseNet-121 78.9.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..registry import register_models
from .fcn import MOBILENETV2

if TYPE_CHECKING:
    from ..segmenters.segmenter import Segmenter


def pspnet(
    backbone: str,
    output_stride: int = 8,
    context: str = "pyramid_pooling",
    context_width: int = 512,
    refine: bool = False,
    decoder: bool = False,
    auxiliary: bool = True,
    auxiliary_width: int = 512,
    dilate_stage_entries: bool = False,
    num_classes: int = 21,
    in_chans: int = 3,
    pretrained_backbone: bool | str = False,
    backbone_args: dict[str, Any] | None = None,
    freeze_bn: bool = False,
) -> Segmenter:
    """A dilated network with a context module on its last map.

    Args:
        backbone: a timm model, or "wider_resnet38".
        output_stride: 32, 16 or 8.
        context: "pyramid_pooling", "dense_aspp" or "atrous_pooling".
        context_width: channels of the context map; of "dense_aspp" those between its convolutions.
        refine: a 3x3 convolution after the context, as torchvision's DeepLabV3 has.
        decoder: refine with the map at stride 4, as DeepLabV3+ does.
        auxiliary: a second head (3x3, 1x1) on the map before the last, for training.
        auxiliary_width: channels of its 3x3 convolution.
        dilate_stage_entries: dilate the convolutions that lost their stride too, as torchvision's MobileNetV3.
        num_classes: K.
        in_chans: channels of the image.
        pretrained_backbone: True for timm's weights, or a local file of them.
        backbone_args: further keywords of the timm model.
        freeze_bn: keep the statistics of the backbone's batch norm in training.
    """
    from ..backbones import dilation
    from ..backbones.create import make_pyramid
    from ..heads import FCNHead
    from ..heads.context import ContextHead, make_context
    from ..heads.deeplab import DeepLabV3PlusHead
    from ..segmenters.segmenter import Segmenter

    strides = [min(stride, output_stride) for stride in ((4, 16, 32) if decoder else (16, 32))]
    pyramid = make_pyramid(
        backbone,
        strides,
        output_stride=output_stride,
        in_chans=in_chans,
        pretrained=pretrained_backbone,
        backbone_args=backbone_args,
    )
    if dilate_stage_entries:
        dilation.dilate_stage_entries(pyramid)
    *_, before, last = pyramid.channels
    module = make_context(context, last, context_width)
    if decoder:
        head = DeepLabV3PlusHead(pyramid.channels[0], num_classes, module)
    else:
        head = ContextHead(num_classes, module, refine)
    extra = {len(strides) - 2: FCNHead(before, num_classes, auxiliary_width)} if auxiliary else {}
    return Segmenter(pyramid, head, num_classes, in_chans, freeze_bn, auxiliary=extra)


# The rows on MobileNetV2 are narrow: the heads of the papers would be larger than this backbone.
SMALL = dict(**MOBILENETV2, context_width=256, auxiliary_width=128)
DENSEASPP = dict(backbone="densenet121", context="dense_aspp")
DEEPLABV3 = dict(context="atrous_pooling", context_width=256, refine=True, auxiliary_width=256)
DEEPLABV3PLUS = dict(backbone="wider_resnet38", context="atrous_pooling", context_width=256)

register_models(
    pspnet,
    {
        "pspnet_r18": dict(backbone="resnet18"),
        "pspnet_r50": dict(backbone="resnet50"),
        "pspnet_r101": dict(backbone="resnet101"),
        "pspnet_mobilenetv2": SMALL,
        "denseaspp_densenet121": DENSEASPP,
        "deeplabv3_resnet50": dict(**DEEPLABV3, backbone="resnet50"),
        "deeplabv3_resnet101": dict(**DEEPLABV3, backbone="resnet101"),
        "deeplabv3_mobilenetv3_large": dict(**DEEPLABV3, backbone="mobilenetv3_large_100", output_stride=16),
        "deeplabv3plus_wrn38": dict(**DEEPLABV3PLUS, decoder=True),
        "test_pspnet": dict(backbone="test_resnet", context_width=32, auxiliary_width=16),
    },
)
