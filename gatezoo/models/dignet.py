"""DIGNet: distributed iterative gating (Karim et al., CVPR 2019).

A feed-forward network is unrolled over T passes. Between passes, propagators carry what every block found down to the
blocks below it in a cascade, and modulators weigh each block's input with it.

Published results (PASCAL VOC 2012 val, T = 2, Table 4): ResNet-101 at stride 8 71.3 -> 77.5, at stride 32 65.3 -> 72.5.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..registry import register_models
from .fcn import MOBILENETV2

if TYPE_CHECKING:
    from ..segmenters.recurrent import RecurrentSegmenter


def dignet(
    backbone: str,
    output_stride: int = 32,
    head: str = "linear",
    iterations: int = 2,
    shallowest: int = 1,
    feedback: str = "cascade",
    bins: tuple[int, ...] = (1, 3, 5, 7),
    num_classes: int = 21,
    in_chans: int = 3,
    pretrained_backbone: bool | str = False,
    backbone_args: dict[str, Any] | None = None,
    freeze_bn: bool = True,
) -> RecurrentSegmenter:
    """A fully convolutional network with distributed iterative gating.

    Args:
        backbone: a timm model whose blocks can be run again.
        output_stride: 32, 16 or 8.
        head: block n: "linear", "fcn" or "aspp".
        iterations: passes T; 1 is the plain network.
        shallowest: smallest gated block (Table 3); 1 gates the image too.
        feedback: "cascade", or "stage" or "last", the rival routings of Table 2.
        bins: grids of the modulators' spatial pyramid; empty for the plain 1x1 modulator of Table 1.
        num_classes: K.
        in_chans: channels of the image.
        pretrained_backbone: True for timm's weights, or a local file of them.
        backbone_args: further keywords of the timm model.
        freeze_bn: keep batch norm's statistics in training.
    """
    from ..backbones.stages import Stages
    from ..gates.distributed import DistributedFeedback
    from ..heads import make_head
    from ..segmenters.recurrent import RecurrentSegmenter

    stages = Stages(
        backbone,
        output_stride=output_stride,
        in_chans=in_chans,
        pretrained=pretrained_backbone,
        backbone_args=backbone_args,
    )
    return RecurrentSegmenter(
        stages,
        make_head(head, stages.channels[-1], num_classes),
        DistributedFeedback([*stages.channels, num_classes], shallowest, feedback, bins),
        num_classes,
        in_chans,
        iterations,
        freeze_bn,
    )


register_models(
    dignet,
    {
        "dignet_resnet50_32s": dict(backbone="resnet50"),
        "dignet_resnet50_8s": dict(backbone="resnet50", output_stride=8, head="fcn"),
        "dignet_resnet101_32s": dict(backbone="resnet101"),
        "dignet_resnet101_8s": dict(backbone="resnet101", output_stride=8, head="fcn"),
        # Gated from stride 8 upwards: on the large shallow maps the gates would cost more than this small backbone.
        "dignet_mobilenetv2_32s": dict(**MOBILENETV2, shallowest=3),
        "dignet_mobilenetv2_8s": dict(**MOBILENETV2, output_stride=8, head="fcn", shallowest=3),
        "dignet_deeplabv2_resnet101": dict(backbone="resnet101", output_stride=8, head="aspp"),
        "test_dignet": dict(backbone="test_resnet"),
    },
)
