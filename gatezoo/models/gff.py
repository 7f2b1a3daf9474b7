"""GFF: gated fully fusion (Li et al., AAAI 2020).

Every level of a backbone gets what it lacks from all others: a gate of each level, made of its own map, says which
pixels it sends and, where it is closed, that it receives. A dense feature pyramid then hands the context of the
baseline (PSPNet, DenseASPP or DeepLabV3+) down from level to level.

Published results (Cityscapes val, Table 2): PSPNet 78.6, + GFF 80.4, + dense feature pyramid 81.2, several scales 81.8.
The paper's parameters, 69.7 M with GFF and 70.5 M with both (Table 3), are not reproduced: no reading of its text
gives them. With the text's convolutions PSPNet + GFF has 71.315 M.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..registry import register_models
from .pspnet import DEEPLABV3PLUS, DENSEASPP, SMALL

if TYPE_CHECKING:
    from ..segmenters.segmenter import Segmenter


def gff(
    backbone: str,
    output_stride: int = 8,
    strides: tuple[int, ...] = (4, 8, 16, 32),
    context: str = "pyramid_pooling",
    context_width: int = 512,
    fusion: str = "gff",
    gate: str = "pixel",
    width: int = 256,
    dfp: bool = True,
    auxiliary: bool = True,
    auxiliary_width: int = 512,
    num_classes: int = 21,
    in_chans: int = 3,
    pretrained_backbone: bool | str = False,
    backbone_args: dict[str, Any] | None = None,
    freeze_bn: bool = False,
) -> Segmenter:
    """A context module on the last map of a backbone, its levels fused, and a classifier of everything.

    Args:
        backbone: a timm model, or "wider_resnet38".
        output_stride: 32, 16 or 8.
        strides: of the levels, as they are before dilation, at least two.
        context: "pyramid_pooling" (PSPNet), "dense_aspp" or "atrous_pooling".
        context_width: channels of the context map; of "dense_aspp" those between its convolutions.
        fusion: "gff", or Table 1's rivals: "concat", "addition", "fpn", "gated_fpn".
        gate: "pixel", one gate value a pixel (eq. 5), or "channel", one for each channel (the authors' code).
        width: channels of every level.
        dfp: the dense feature pyramid; without, the levels and the context are classified at once (Table 2).
        auxiliary: a second head (3x3, 1x1) on the map before the last, for training.
        auxiliary_width: channels of its 3x3 convolution.
        num_classes: K.
        in_chans: channels of the image.
        pretrained_backbone: True for timm's weights, or a local file of them.
        backbone_args: further keywords of the timm model.
        freeze_bn: keep the statistics of the backbone's batch norm in training.
    """
    from ..backbones.create import make_pyramid
    from ..gates.fusion import make_fusion
    from ..heads import FCNHead
    from ..heads.context import make_context
    from ..heads.dense_pyramid import DenseFeaturePyramid
    from ..heads.fusion import FusionHead
    from ..segmenters.segmenter import Segmenter

    pyramid = make_pyramid(
        backbone,
        [min(stride, output_stride) for stride in strides],
        output_stride=output_stride,
        in_chans=in_chans,
        pretrained=pretrained_backbone,
        backbone_args=backbone_args,
    )
    channels, levels = pyramid.channels, len(pyramid.channels)
    module = make_context(context, channels[-1], context_width)
    head = FusionHead(
        num_classes,
        module,
        make_fusion(fusion, channels, module.out_channels, width, gate),
        levels,
        width,
        DenseFeaturePyramid(module.out_channels, levels, width) if dfp else None,
    )
    extra = {levels - 2: FCNHead(channels[-2], num_classes, auxiliary_width)} if auxiliary else {}
    return Segmenter(pyramid, head, num_classes, in_chans, freeze_bn, auxiliary=extra)


register_models(
    gff,
    {
        "gff_pspnet_r18": dict(backbone="resnet18"),
        "gff_pspnet_r50": dict(backbone="resnet50"),
        "gff_pspnet_r101": dict(backbone="resnet101"),
        "gff_pspnet_r101_nodfp": dict(backbone="resnet101", dfp=False),
        "gff_pspnet_mobilenetv2": dict(**SMALL, width=64),
        "gff_pspnet_mobilenetv2_nodfp": dict(**SMALL, width=64, dfp=False),
        "gff_denseaspp_densenet121": DENSEASPP,
        "gff_deeplabv3plus_wrn38": DEEPLABV3PLUS,
        # Table 1's rivals.
        "concat_pspnet_r101": dict(backbone="resnet101", fusion="concat", dfp=False),
        "addition_pspnet_r101": dict(backbone="resnet101", fusion="addition", dfp=False),
        "fpn_pspnet_r101": dict(backbone="resnet101", fusion="fpn", dfp=False),
        "gated_fpn_pspnet_r101": dict(backbone="resnet101", fusion="gated_fpn", dfp=False),
        "test_gff": dict(backbone="test_resnet", context_width=32, width=16, auxiliary_width=16),
    },
)
