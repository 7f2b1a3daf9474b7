"""PSPNet: pyramid scene parsing network (Zhao et al., CVPR 2017), the baseline that gated fully fusion is added to.

The last map of a dilated backbone is pooled to grids of 1, 2, 3 and 6, and the classifier reads it together with them.
An auxiliary head on the map before the last helps training.

Published results (GFF, Cityscapes val): ResNet-101 78.6, ResNet-18 73.0.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..backbones.spec import BackboneSpec
from ..registry import register_models
from .fcn import LITE0, MOBILENETV2

if TYPE_CHECKING:
    from torch import nn

    from ..segmenters.segmenter import Segmenter

# The last two maps: the auxiliary head reads the first of them, the context module the second.
STRIDES = (16, 32)


def pspnet(
    backbone: BackboneSpec,
    num_classes: int = 21,
    freeze_bn: bool = False,
    *,
    context_width: int = 512,
    auxiliary: bool = True,
    auxiliary_width: int = 512,
) -> Segmenter:
    """Build a dilated network with pyramid pooling of its last map.

    Args:
        backbone: a timm model, or "wider_resnet38".
        num_classes: K.
        freeze_bn: keep the statistics of the backbone's batch norm in training.
        context_width: channels of the context map.
        auxiliary: a second head (3x3, 1x1) on the map before the last, for training.
        auxiliary_width: channels of its 3x3 convolution.
    """
    from ..heads.context import ContextHead
    from ..heads.pyramid_pooling import PyramidPooling
    from ..segmenters.segmenter import Segmenter

    pyramid = backbone.pyramid(STRIDES)
    head = ContextHead(num_classes, PyramidPooling(pyramid.channels[-1], context_width))
    extra = auxiliary_heads(pyramid.channels, num_classes, auxiliary_width) if auxiliary else {}
    return Segmenter(pyramid, head, num_classes, backbone.in_chans, freeze_bn, auxiliary=extra)


def auxiliary_heads(channels: Sequence[int], num_classes: int, width: int) -> dict[int, nn.Module]:
    """Return the auxiliary head of the map before the last, under the number of that map."""
    from ..heads import FCNHead

    level = len(channels) - 2
    return {level: FCNHead(channels[level], num_classes, width)}


# For small backbones, which the heads of the papers would outweigh.
SMALL_HEADS: dict[str, Any] = dict(context_width=256, auxiliary_width=128)
# At stride 8 the dilated last stages of EfficientNet-Lite0 would cost more than all the rest.
SMALL_LITE0: dict[str, Any] = dict(**LITE0, output_stride=16, context_width=96, auxiliary=False)

register_models(
    pspnet,
    {
        "pspnet_r18": dict(backbone="resnet18"),
        "pspnet_r50": dict(backbone="resnet50"),
        "pspnet_r101": dict(backbone="resnet101"),
        "pspnet_mobilenetv2": dict(**MOBILENETV2, **SMALL_HEADS),
        "pspnet_lite0": SMALL_LITE0,
        "test_pspnet": dict(backbone="test_resnet", context_width=32, auxiliary_width=16),
    },
    family="pspnet",
    paper="PSPNet: pyramid scene parsing network (Zhao et al., CVPR 2017)",
    output_stride=8,
    retired_kwargs=dict(context="pyramid_pooling", refine=False, decoder=False, dilate_stage_entries=False),
)
