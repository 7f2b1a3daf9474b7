"""DIGNet: distributed iterative gating (Karim et al., arXiv:1909.12996, 2019).

A feed-forward network is unrolled over T passes. Between passes, propagators carry the output of every block down to
the blocks below it in a cascade, and modulators weight each block's input with it.

Published results (PASCAL VOC 2012 val, T = 2, Table 4): ResNet-101 at stride 8 71.3 -> 77.5, at stride 32 65.3 -> 72.5.

What the text leaves open is decided in :class:`gatezoo.gates.distributed.DistributedFeedback` (logits or probabilities)
and :class:`gatezoo.segmenters.recurrent.RecurrentSegmenter` (frozen batch norm).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..backbones.spec import BackboneSpec
from ..registry import register_models
from .fcn import LITE0, LITE0_8S, MOBILENETV2

if TYPE_CHECKING:
    from ..segmenters.recurrent import RecurrentSegmenter


def dignet(
    backbone: BackboneSpec,
    num_classes: int = 21,
    freeze_bn: bool = True,
    *,
    head: str = "linear",
    head_width: int | None = None,
    iterations: int = 2,
    shallowest: int = 1,
    feedback: str = "cascade",
    bins: tuple[int, ...] = (1, 3, 5, 7),
) -> RecurrentSegmenter:
    """Build a fully convolutional network with distributed iterative gating.

    Args:
        backbone: a timm model whose blocks can be run again.
        num_classes: K.
        freeze_bn: keep the statistics of batch norm in training; its scale and shift are trained.
        head: block n: "linear", "fcn" or "aspp".
        head_width: channels of the 3x3 convolution of "fcn"; by default 512.
        iterations: passes T; 1 is the plain network.
        shallowest: smallest gated block (Table 3); 1 gates the image too.
        feedback: "cascade", or one of the other routings of Table 2: "stage" or "last".
        bins: grids of the modulators' spatial pyramid; empty for the plain 1x1 modulator of Table 1.
    """
    from ..gates.distributed import DistributedFeedback
    from ..heads import make_head
    from ..segmenters.recurrent import RecurrentSegmenter

    stages = backbone.stages()
    return RecurrentSegmenter(
        stages,
        make_head(head, stages.channels[-1], num_classes, head_width),
        DistributedFeedback([*stages.channels, num_classes], shallowest, feedback, bins),
        num_classes,
        backbone.in_chans,
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
        # Gated from block 3, 4 or 5 upwards: on the large shallow maps the gates would cost more than these backbones.
        "dignet_mobilenetv2_32s": dict(**MOBILENETV2, shallowest=3),
        "dignet_mobilenetv2_8s": dict(**MOBILENETV2, output_stride=8, head="fcn", shallowest=3),
        "dignet_lite0_32s": dict(**LITE0, shallowest=4),
        "dignet_lite0_8s": dict(**LITE0_8S, shallowest=5),
        "dignet_deeplabv2_resnet101": dict(backbone="resnet101", output_stride=8, head="aspp"),
        "test_dignet": dict(backbone="test_resnet"),
    },
    family="dignet",
    paper="DIGNet: distributed iterative gating (Karim et al., arXiv:1909.12996, 2019)",
)
