"""GFF: gated fully fusion (Li et al., AAAI 2020).

Every level of a backbone receives from all others what it lacks: a gate of each level, computed from its own map,
decides which pixels it sends and, where it is closed, that it receives. A dense feature pyramid then passes the context
of the baseline (PSPNet, DenseASPP or DeepLabV3+) down from level to level.

Published results (Cityscapes val, Table 2): PSPNet 78.6, + GFF 80.4, + dense feature pyramid 81.2, several scales 81.8.
The paper's parameters, 69.7 M with GFF and 70.5 M with both (Table 3), are not reproduced: no reading of its text
gives them. With the text's convolutions PSPNet + GFF has 71.315 M.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..backbones.spec import BackboneSpec
from ..registry import register_models
from .fcn import LITE0, MOBILENETV2
from .pspnet import SMALL_HEADS, auxiliary_heads

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
        fusion: "gff", or one of the other fusions of Table 1: "concat", "addition", "fpn", "gated_fpn".
        gate: "pixel", one gate value per pixel (eq. 5), or "channel", one per channel (the authors' code).
        width: channels of every level.
        dfp: the dense feature pyramid; without it the levels and the context are classified at once (Table 2).
        auxiliary: a second head (3x3, 1x1) on the map before the last, for training.
        auxiliary_width: channels of its 3x3 convolution.
    """
    from ..gates.fusion import make_fusion
    from ..heads.context import make_context
    from ..heads.dense_pyramid import DenseFeaturePyramid
    from ..heads.fusion import FusionHead
    from ..segmenters.segmenter import Segmenter

    pyramid = backbone.pyramid(strides)
    channels, levels = pyramid.channels, len(pyramid.channels)
    module = make_context(context, channels[-1], context_width)
    context_channels = module.out_channels
    assert isinstance(context_channels, int)
    head = FusionHead(
        num_classes,
        module,
        make_fusion(fusion, channels, context_channels, width, gate),
        levels,
        width,
        DenseFeaturePyramid(context_channels, levels, width) if dfp else None,
    )
    extra = auxiliary_heads(channels, num_classes, auxiliary_width) if auxiliary else {}
    return Segmenter(pyramid, head, num_classes, backbone.in_chans, freeze_bn, auxiliary=extra)


register_models(
    gff,
    {
        # Added to PSPNet.
        "gff_pspnet_r18": dict(backbone="resnet18"),
        "gff_pspnet_r50": dict(backbone="resnet50"),
        "gff_pspnet_r101": dict(backbone="resnet101"),
        "gff_pspnet_r101_nodfp": dict(backbone="resnet101", dfp=False),
        # The same on small backbones, with fewer channels.
        "gff_pspnet_mobilenetv2": dict(**MOBILENETV2, **SMALL_HEADS, width=64),
        "gff_pspnet_mobilenetv2_nodfp": dict(**MOBILENETV2, **SMALL_HEADS, width=64, dfp=False),
        "gff_pspnet_lite0": dict(**LITE0, **SMALL_HEADS, width=64),
        "gff_pspnet_lite0_nodfp": dict(**LITE0, **SMALL_HEADS, width=64, dfp=False),
        # Other baselines in place of PSPNet, Table 4.
        "gff_denseaspp_densenet121": dict(backbone="densenet121", context="dense_aspp"),
        "gff_deeplabv3plus_wrn38": dict(backbone="wider_resnet38", context="atrous_pooling", context_width=256),
        # The other fusions of Table 1.
        "concat_pspnet_r101": dict(backbone="resnet101", fusion="concat", dfp=False),
        "addition_pspnet_r101": dict(backbone="resnet101", fusion="addition", dfp=False),
        "fpn_pspnet_r101": dict(backbone="resnet101", fusion="fpn", dfp=False),
        "gated_fpn_pspnet_r101": dict(backbone="resnet101", fusion="gated_fpn", dfp=False),
        "test_gff": dict(backbone="test_resnet", context_width=32, width=16, auxiliary_width=16),
    },
    family="gff",
    paper="GFF: gated fully fusion (Li et al., AAAI 2020)",
    output_stride=8,
)
