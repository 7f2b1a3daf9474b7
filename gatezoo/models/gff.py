"""GFF: gated fully fusion (Li et al., AAAI 2020).

Every level of a backbone receives from all others what it lacks: a gate of each level, computed from its own map,
decides which pixels it sends and, where it is closed, that it receives. A dense feature pyramid then passes the context
of the baseline (PSPNet, DenseASPP or DeepLabV3+) down from level to level.

Published results (Cityscapes val, Table 2): PSPNet 78.6, + GFF 80.4, + dense feature pyramid 81.2, several scales 81.8.
Text and Table 3 contradict each other, and there are two readings (keyword ``pyramid`` of :func:`gff`). The text fuses
the "feature maps from last residual blocks in each stage": four stages, 71.315 M parameters with GFF on ResNet-101 and
19 classes, against the table's 69.7 M with GFF and 70.5 M with the pyramid too. The table's are met, 69.730 M and
70.522 M, if the levels are the first three stages and the output of pyramid pooling, two 3x3 convolutions follow each
of the three stages alone, and the pyramid is three 1x1 convolutions: the "light" networks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..backbones.spec import BackboneSpec
from ..registry import register_models
from .fcn import MOBILENETV2
from .pspnet import SMALL_HEADS, SMALL_LITE0, auxiliary_heads

if TYPE_CHECKING:
    from ..segmenters.segmenter import Segmenter


def gff(
    backbone: BackboneSpec,
    num_classes: int = 21,
    freeze_bn: bool = False,
    *,
    strides: tuple[int, ...] = (4, 8, 16, 32),
    context: str = "pyramid_pooling",
    context_width: int = 512,
    fusion: str = "gff",
    gate: str = "pixel",
    width: int = 256,
    dfp: bool = True,
    pyramid: str = "dense",
    auxiliary: bool = True,
    auxiliary_width: int = 512,
) -> Segmenter:
    """Build a network that adds context to the last map of a backbone, fuses all levels and classifies them together.

    Args:
        backbone: a timm model, or "wider_resnet38".
        num_classes: K.
        freeze_bn: keep the statistics of the backbone's batch norm in training.
        strides: of the levels, as they are before dilation, at least two.
        context: "pyramid_pooling" (PSPNet), "dense_aspp" or "atrous_pooling".
        context_width: channels of the context map; of "dense_aspp" those between its convolutions.
        fusion: "gff" ("gff_in_turn": level after level, as in the authors' code), or one of the other fusions of
            Table 1: "concat", "addition", "fpn", "gated_fpn".
        gate: "pixel", one gate value per pixel (eq. 5), or "channel", one per channel (the authors' code).
        width: channels of every level.
        dfp: the dense feature pyramid; without it the levels and the context are classified at once (Table 2).
        pyramid: "dense", the text: every level is a stage, the pyramid's convolutions are 3x3. "light", the parameters
            of Table 3: the context map replaces the last stage as a level, the pyramid's convolutions are 1x1.
        auxiliary: a second head (3x3, 1x1) on the map before the last, for training.
        auxiliary_width: channels of its 3x3 convolution.
    """
    from ..gates.fusion import TopDownFusion, make_fusion
    from ..heads.context import make_context
    from ..heads.dense_pyramid import DenseFeaturePyramid
    from ..heads.fusion import ContextLevelHead, FusionHead
    from ..segmenters.segmenter import Segmenter
    from ..utils.choices import check_choice

    make_head, kernel_size = {"dense": (FusionHead, 3), "light": (ContextLevelHead, 1)}[
        check_choice("pyramid", pyramid, ("dense", "light"))
    ]
    maps = backbone.pyramid(strides)
    module = make_context(context, maps.channels[-1], context_width)
    channels = [*maps.channels[:-1], module.out_channels] if pyramid == "light" else maps.channels
    fused = make_fusion(fusion, channels, module.out_channels, width, gate)
    if pyramid == "light" and isinstance(fused, TopDownFusion):
        raise ValueError(
            f"pyramid must be 'dense' for fusion={fusion!r}, which adds the context map; got 'light': leave it out"
        )
    stages = make_head.count_stages(len(channels))
    dense = DenseFeaturePyramid(module.out_channels, stages, width, kernel_size) if dfp else None
    head = make_head(num_classes, module, fused, len(channels), width, dense)
    extra = auxiliary_heads(maps.channels, num_classes, auxiliary_width) if auxiliary else {}
    return Segmenter(maps, head, num_classes, backbone.in_chans, freeze_bn, auxiliary=extra)


def gff_decoder(
    backbone: BackboneSpec,
    num_classes: int = 21,
    freeze_bn: bool = False,
    *,
    strides: tuple[int, ...] = (2, 16, 32),
    context_width: int = 256,
    fusion: str = "gff_in_turn",
    gate: str = "channel",
    width: int = 128,
    rates: tuple[int, ...] = (3, 6, 9),
    refine_width: int = 256,
) -> Segmenter:
    """Build a network with GFF in the decoder of DeepLabV3+, with logits at the finest level's size.

    The structure is that of the authors' code for WiderResNet-38: the levels are a map at stride 2, the one before the
    last and the atrous pooling of the last, merged by a bare 3x3 convolution. Their backbone's last map is the sum that
    leaves its last group, here norm and ReLU follow; they resize with corners aligned, here pixel centers are.

    Args:
        backbone: a timm model, or "wider_resnet38".
        num_classes: K.
        freeze_bn: keep the statistics of the backbone's batch norm in training.
        strides: of the maps, as they are before dilation; the last is read by the atrous pooling alone.
        context_width: channels of the context map.
        fusion: "gff_in_turn" (the authors' code: a level receives what finer ones have received) or "gff" (eq. 5).
        gate: "channel", one gate value per channel (the authors' code), or "pixel", one per pixel (eq. 5).
        width: channels of every level.
        rates: dilations of the dense pyramid's 3x3 convolutions, one a level.
        refine_width: channels of the two 3x3 convolutions before the classifier.
    """
    from torch import nn

    from ..gates.fusion import GatedFullyFusion, make_fusion
    from ..heads.deeplab import AtrousPooling
    from ..heads.gated_decoder import GatedDecoderHead
    from ..segmenters.segmenter import Segmenter

    maps = backbone.pyramid(strides)
    merge = nn.Conv2d(5 * context_width, context_width, 3, padding=1, bias=False)
    context = AtrousPooling(maps.channels[-1], context_width, merge=merge)
    fused = make_fusion(fusion, [*maps.channels[:-1], context_width], context_width, width, gate)
    if not isinstance(fused, GatedFullyFusion):
        raise ValueError(f"fusion must be 'gff_in_turn' or 'gff'; got {fusion!r}: choose one, or another model")
    head = GatedDecoderHead(num_classes, context, fused, width, rates, refine_width)
    return Segmenter(maps, head, num_classes, backbone.in_chans, freeze_bn)


register_models(
    gff,
    {
        # Added to PSPNet.
        "gff_pspnet_r18": dict(backbone="resnet18"),
        "gff_pspnet_r50": dict(backbone="resnet50"),
        "gff_pspnet_r101": dict(backbone="resnet101"),
        "gff_pspnet_r101_nodfp": dict(backbone="resnet101", dfp=False),
        # The same with the parameters of Table 3.
        "gff_pspnet_r101_light": dict(backbone="resnet101", pyramid="light"),
        "gff_pspnet_r101_light_nodfp": dict(backbone="resnet101", pyramid="light", dfp=False),
        # The same on small backbones, with fewer channels.
        "gff_pspnet_mobilenetv2": dict(**MOBILENETV2, **SMALL_HEADS, width=64),
        "gff_pspnet_mobilenetv2_nodfp": dict(**MOBILENETV2, **SMALL_HEADS, width=64, dfp=False),
        "gff_pspnet_lite0": dict(**SMALL_LITE0, pyramid="light", width=48),
        "gff_pspnet_lite0_nodfp": dict(**SMALL_LITE0, pyramid="light", width=48, dfp=False),
        # Other baselines in place of PSPNet, Table 4.
        "gff_denseaspp_densenet121": dict(backbone="densenet121", context="dense_aspp"),
        "gff_deeplabv3plus_wrn38": dict(backbone="wider_resnet38", context="atrous_pooling", context_width=256),
        # The other fusions of Table 1.
        "concat_pspnet_r101": dict(backbone="resnet101", fusion="concat", dfp=False),
        "addition_pspnet_r101": dict(backbone="resnet101", fusion="addition", dfp=False),
        "fpn_pspnet_r101": dict(backbone="resnet101", fusion="fpn", dfp=False),
        "gated_fpn_pspnet_r101": dict(backbone="resnet101", fusion="gated_fpn", dfp=False),
        "test_gff": dict(backbone="test_resnet", context_width=32, width=16, auxiliary_width=16),
        "test_gff_light": dict(backbone="test_resnet", pyramid="light", context_width=32, width=16, auxiliary_width=16),
    },
    family="gff",
    paper="GFF: gated fully fusion (Li et al., AAAI 2020)",
    output_stride=8,
)

register_models(
    gff_decoder,
    {
        # Table 8 as in the authors' code; gff_deeplabv3plus_wrn38 is the text's GFF with atrous pooling as context.
        "gff_deeplabv3plus_wrn38_decoder": dict(backbone="wider_resnet38"),
        "test_gff_decoder": dict(backbone="test_resnet", context_width=16, width=8, refine_width=16),
    },
    family="gff",
    paper="GFF: gated fully fusion (Li et al., AAAI 2020)",
    output_stride=8,
)
