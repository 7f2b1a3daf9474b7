"""RIGNet: recurrent iterative gating (Karim et al., WACV 2019).

Each block's output, pooled and convolved to a gate, multiplies the block's own input in the next iteration: in whole
passes (parallel unroll, ``pu``), block after block (sequential, ``su``), or in whole passes with the prediction
joining every gate (multi-range, ``pf``).

Published results (PASCAL VOC 2012 val, Table 7): ResNet-50 at stride 32 59.4 -> 68.9 (pu, 6 iterations), ResNet-101
65.3 -> 71.6 (pf, 6), at stride 8 71.3 -> 74.9 (pu, 4), DeepLabV2 74.9 -> 75.9 (pu, 2).
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from ..registry import register_models
from .fcn import MOBILENETV2

if TYPE_CHECKING:
    from ..segmenters.recurrent import RecurrentSegmenter

# <6..4> of the paper, counted from the end: backbones differ in their number of blocks.
LAST_THREE = (-3, -2, -1)


def rignet(
    backbone: str,
    output_stride: int = 32,
    head: str = "linear",
    unroll: str = "pu",
    blocks: tuple[int, ...] | None = None,
    iterations: int = 2,
    pool: str = "average",
    interaction: str = "multiply_sigmoid",
    gate_width: int | None = None,
    feedback: str = "block",
    num_classes: int = 21,
    in_chans: int = 3,
    pretrained_backbone: bool | str = False,
    backbone_args: dict[str, Any] | None = None,
    freeze_bn: bool = True,
) -> RecurrentSegmenter:
    """A fully convolutional network with recurrent iterative gating.

    Args:
        backbone: a timm model whose blocks can be run again.
        output_stride: 32, 16 or 8.
        head: block n: "linear", "fcn" or "aspp".
        unroll: "su" (sequential), "pu" (parallel) or "pf" (parallel, multi-range feedback).
        blocks: gated blocks, neighbours among 1 .. n; negative ones count from the end. None gates all.
        iterations: unroll iterations ui; 1 is the plain network.
        pool: before a gate's convolution: "average", "max" or "none" (Table 5).
        interaction: "multiply_sigmoid", "multiply_tanh" or "add_relu" (Table 4).
        gate_width: channels of a 1x1 bottleneck in the gates; None for the paper's gates.
        feedback: "block", or Table 6's rivals: "stage" (the prediction to every gated block), "network" (the
            prediction joins the image), "network_gated" (it gates the image).
        num_classes: K.
        in_chans: channels of the image.
        pretrained_backbone: True for timm's weights, or a local file of them.
        backbone_args: further keywords of the timm model.
        freeze_bn: keep batch norm's statistics in training.
    """
    from ..backbones.stages import Stages
    from ..gates.iterative import IterativeFeedback, MultiRangeFeedback
    from ..gates.routed import NetworkWideFeedback, RoutedFeedback
    from ..heads import make_head
    from ..segmenters.recurrent import RecurrentSegmenter
    from ..utils.choices import check_choice

    orders = {"su": "sequential", "pu": "parallel", "pf": "parallel"}
    options = dict(pool=pool, interaction=interaction, width=gate_width)
    mechanisms = {
        "block": partial(MultiRangeFeedback if unroll == "pf" else IterativeFeedback, blocks=blocks, **options),
        "stage": partial(RoutedFeedback, blocks=blocks, **options),
        "network_gated": partial(RoutedFeedback, blocks=(1,), **options),
        "network": NetworkWideFeedback,
    }
    order = orders[check_choice("unroll", unroll, orders)]
    mechanism = mechanisms[check_choice("feedback", feedback, mechanisms)]
    if feedback != "block" and unroll != "pu":
        raise ValueError(f"feedback of the prediction needs the unroll 'pu'; got {feedback!r} with {unroll!r}")
    if feedback.startswith("network") and blocks is not None:
        raise ValueError(f"network-wide feedback enters at the image; got blocks {list(blocks)}: leave them out")
    if feedback == "network" and options != dict(pool="average", interaction="multiply_sigmoid", width=None):
        raise ValueError("pool, interaction and gate_width are of gates; feedback 'network' has none: leave them out")
    stages = Stages(
        backbone,
        output_stride=output_stride,
        in_chans=in_chans,
        pretrained=pretrained_backbone,
        backbone_args=backbone_args,
    )
    gates = mechanism([*stages.channels, num_classes])
    return RecurrentSegmenter(
        stages,
        make_head(head, stages.channels[-1], num_classes),
        gates,
        num_classes,
        in_chans,
        iterations,
        freeze_bn,
        order,
    )


register_models(
    rignet,
    {
        "rignet_r50_su": dict(backbone="resnet50", unroll="su", blocks=LAST_THREE),
        "rignet_r50_pu": dict(backbone="resnet50", unroll="pu", blocks=LAST_THREE),
        "rignet_r50_pf": dict(backbone="resnet50", unroll="pf"),
        "rignet_r101_su": dict(backbone="resnet101", unroll="su", blocks=LAST_THREE),
        "rignet_r101_pu": dict(backbone="resnet101", unroll="pu", blocks=LAST_THREE),
        "rignet_r101_pf": dict(backbone="resnet101", unroll="pf"),
        "rignet_r101_8s_pu": dict(backbone="resnet101", output_stride=8, head="fcn", unroll="pu", blocks=LAST_THREE),
        "rignet_deeplabv2_r101_pu": dict(
            backbone="resnet101", output_stride=8, head="aspp", unroll="pu", blocks=LAST_THREE
        ),
        # Table 6's rivals.
        "rignet_r50_network": dict(backbone="resnet50", feedback="network"),
        "rignet_r50_network_gated": dict(backbone="resnet50", feedback="network_gated"),
        "rignet_r50_stage": dict(backbone="resnet50", feedback="stage", blocks=LAST_THREE),
        "rignet_mobilenetv2_32s_pu": dict(**MOBILENETV2, unroll="pu", blocks=LAST_THREE),
        "rignet_mobilenetv2_32s_pf": dict(**MOBILENETV2, unroll="pf"),
        "rignet_mobilenetv2_8s_pu": dict(**MOBILENETV2, output_stride=8, head="fcn", unroll="pu", blocks=LAST_THREE),
        "rignet_mobilenetv2_8s_pf": dict(**MOBILENETV2, output_stride=8, head="fcn", unroll="pf"),
        "test_rignet": dict(backbone="test_resnet", unroll="pf"),
        "test_rignet_su": dict(backbone="test_resnet", unroll="su", blocks=LAST_THREE),
    },
)
