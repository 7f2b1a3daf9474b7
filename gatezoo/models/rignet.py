"""RIGNet: recurrent iterative gating (Karim et al., WACV 2019).

Each block's output, pooled and convolved to a gate, multiplies the block's own input in the next iteration: in whole
passes (parallel unroll, ``pu``), block after block (sequential, ``su``), or in whole passes with the prediction
joining every gate (multi-range, ``pf``).

Published results (PASCAL VOC 2012 val, Table 7): ResNet-50 at stride 32 59.4 -> 68.9 (pu, 6 iterations), ResNet-101
65.3 -> 71.6 (pf, 6), at stride 8 71.3 -> 74.9 (pu, 4), DeepLabV2 74.9 -> 75.9 (pu, 2).

What the text leaves open is decided in :mod:`gatezoo.gates.iterative` and :mod:`gatezoo.gates.routed` (logits or
probabilities), and :class:`gatezoo.segmenters.recurrent.RecurrentSegmenter` (frozen batch norm).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from ..backbones.spec import BackboneSpec
from ..registry import register_models
from .fcn import LITE0, MOBILENETV2

if TYPE_CHECKING:
    from ..gates.base import Feedback
    from ..segmenters.recurrent import RecurrentSegmenter

# <6..4> of the paper, counted from the end: backbones differ in their number of blocks.
LAST_THREE = (-3, -2, -1)


def rignet(
    backbone: BackboneSpec,
    num_classes: int = 21,
    freeze_bn: bool = True,
    *,
    head: str = "linear",
    unroll: str = "pu",
    blocks: tuple[int, ...] | None = None,
    iterations: int = 2,
    pool: str = "average",
    interaction: str = "multiply_sigmoid",
    gate_width: int | None = None,
    feedback: str = "block",
) -> RecurrentSegmenter:
    """Build a fully convolutional network with recurrent iterative gating.

    Args:
        backbone: a timm model whose blocks can be run again.
        num_classes: K.
        freeze_bn: keep the statistics of batch norm in training; its scale and shift are trained.
        head: block n: "linear", "fcn" or "aspp".
        unroll: "su" (sequential), "pu" (parallel) or "pf" (parallel, multi-range feedback).
        blocks: gated blocks, neighbors among 1 .. n; negative ones count from the end. None gates all.
        iterations: unroll iterations ui; 1 is the plain network.
        pool: before a gate's convolution: "average", "max" or "none" (Table 5).
        interaction: "multiply_sigmoid", "multiply_tanh" or "add_relu" (Table 4).
        gate_width: channels of a 1x1 bottleneck in the gates; None for the paper's gates.
        feedback: "block", or one of the other routings of Table 6: "stage" (the prediction to every gated block),
            "network" (the prediction joins the image), "network_gated" (it gates the image).
    """
    from ..gates.iterative import IterativeFeedback, MultiRangeFeedback
    from ..gates.routed import NetworkWideFeedback, RoutedFeedback
    from ..heads import make_head
    from ..segmenters.recurrent import RecurrentSegmenter
    from ..utils.choices import check_choice

    orders = {"su": "sequential", "pu": "parallel", "pf": "parallel"}
    options: dict[str, Any] = dict(pool=pool, interaction=interaction, width=gate_width)
    mechanisms: dict[str, Callable[..., Feedback]] = {
        "block": partial(MultiRangeFeedback if unroll == "pf" else IterativeFeedback, blocks=blocks, **options),
        "stage": partial(RoutedFeedback, blocks=blocks, **options),
        "network_gated": partial(RoutedFeedback, blocks=(1,), **options),
        "network": NetworkWideFeedback,
    }
    order = orders[check_choice("unroll", unroll, orders)]
    mechanism = mechanisms[check_choice("feedback", feedback, mechanisms)]
    if feedback != "block" and unroll != "pu":
        raise ValueError(f"unroll must be 'pu' for feedback={feedback!r}; got {unroll!r}: pass unroll='pu'")
    if feedback.startswith("network") and blocks is not None:
        raise ValueError(f"blocks must be None for feedback={feedback!r}; got {list(blocks)}: leave them out")
    if feedback == "network" and options != dict(pool="average", interaction="multiply_sigmoid", width=None):
        values = ", ".join(f"{value!r}" for value in options.values())
        raise ValueError(
            "pool, interaction and gate_width must be the defaults for feedback='network', which has no gates; "
            f"got {values}: leave them out"
        )
    stages = backbone.stages()
    gates = mechanism([*stages.channels, num_classes])
    return RecurrentSegmenter(
        stages,
        make_head(head, stages.channels[-1], num_classes),
        gates,
        num_classes,
        backbone.in_chans,
        iterations,
        freeze_bn,
        order,
    )


register_models(
    rignet,
    {
        # Table 7: sequential, parallel and multi-range unrolls.
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
        # The other routings of Table 6.
        "rignet_r50_network": dict(backbone="resnet50", feedback="network"),
        "rignet_r50_network_gated": dict(backbone="resnet50", feedback="network_gated"),
        "rignet_r50_stage": dict(backbone="resnet50", feedback="stage", blocks=LAST_THREE),
        # The unrolls on small backbones.
        "rignet_mobilenetv2_32s_pu": dict(**MOBILENETV2, unroll="pu", blocks=LAST_THREE),
        "rignet_mobilenetv2_32s_pf": dict(**MOBILENETV2, unroll="pf"),
        "rignet_mobilenetv2_8s_pu": dict(**MOBILENETV2, output_stride=8, head="fcn", unroll="pu", blocks=LAST_THREE),
        "rignet_mobilenetv2_8s_pf": dict(**MOBILENETV2, output_stride=8, head="fcn", unroll="pf"),
        "rignet_lite0_32s_pu": dict(**LITE0, unroll="pu", blocks=LAST_THREE),
        "rignet_lite0_32s_pf": dict(**LITE0, unroll="pf"),
        "test_rignet": dict(backbone="test_resnet", unroll="pf"),
        "test_rignet_su": dict(backbone="test_resnet", unroll="su", blocks=LAST_THREE),
    },
    family="rignet",
    paper="RIGNet: recurrent iterative gating (Karim et al., WACV 2019)",
)
