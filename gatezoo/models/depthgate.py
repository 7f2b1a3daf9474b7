"""Depth-aware gating: recurrent scene parsing with perspective understanding in the loop (Kong and Fowlkes, CVPR 2018).

The pooling field of every pixel follows its depth: five dilated convolutions of one map, weighed by a depth that the
network predicts from the image (or is given). A recurrent module refines segmentation and depth in loops.

Published results (mIoU, Table 2): NYU-Depth-v2 on ResNet-50 40.6 (baseline) -> 43.1 (loop 2), Cityscapes val on
ResNet-101 73.8 -> 77.6; depth on NYU-Depth-v2 80.9 % within a factor of 1.25 (Table 1).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..registry import register_models
from .fcn import MOBILENETV2

if TYPE_CHECKING:
    from ..segmenters.depth import DepthSegmenter, RecurrentDepthSegmenter
    from ..segmenters.multiscale import MultiScaleSegmenter


def depthgate(
    backbone: str,
    output_stride: int = 8,
    width: int = 512,
    gate: str = "predicted",
    tied: bool = False,
    dilations: tuple[int, ...] = (1, 2, 4, 8, 16),
    loops: int = 2,
    iterations: int | None = None,
    feedback: str = "feature",
    thresholds: tuple[float, ...] | None = None,
    unit: str = "metres",
    hard: bool = False,
    num_classes: int = 40,
    in_chans: int = 3,
    pretrained_backbone: bool | str = False,
    backbone_args: dict[str, Any] | None = None,
    freeze_bn: bool = True,
) -> DepthSegmenter | RecurrentDepthSegmenter:
    """A network with depth-aware gating.

    Args:
        backbone: a timm model.
        output_stride: 8, or 16 or 32.
        width: channels of the head; the depth branch has a quarter and a sixteenth of them.
        gate: "predicted" depth, "given" depth (``depth=`` at the call), "attention" (no depth), "average", or "none",
            the baseline with one branch.
        tied: one kernel for all branches.
        dilations: of the branches, from far to near.
        loops: of the recurrent module, L; 0 leaves it out. More than one have the same weights.
        iterations: passes in ``forward``; default: ``loops`` + 1.
        feedback: what a loop sees of the one before: its "feature" or its "scores".
        thresholds: depths between the scales; training sets them to quantiles of its data, equally many pixels each.
        unit: of a given depth and of the thresholds: "metres" or "disparity".
        hard: in evaluation mode, compute of every pixel the scale of the largest weight alone.
        num_classes: K.
        in_chans: channels of the image.
        pretrained_backbone: True for timm's weights, or a local file of them.
        backbone_args: further keywords of the timm model.
        freeze_bn: keep the statistics of the backbone's batch norm in training.
    """
    from ..backbones.pyramid import Pyramid
    from ..gates.depth import GATES, GatedPooling, ScaleBranches
    from ..heads.depth_pooling import PoolingHead
    from ..layers.depth_bins import NEARER
    from ..segmenters.depth import FEEDBACK, DepthSegmenter, RecurrentDepthSegmenter, check_thresholds
    from ..utils.choices import check_choice

    make_gate = GATES[check_choice("gate", gate, GATES)]
    check_choice("unit", unit, NEARER)
    if gate == "predicted" and unit != "metres":
        raise ValueError(f"depth is predicted in metres; got unit={unit!r}: that of a given depth, gate='given'")
    back = {"feature": width, "scores": num_classes}[check_choice("feedback", feedback, FEEDBACK)]
    if loops < 0:
        raise ValueError(f"loops must be 0, for a feed-forward network, or more; got {loops}")
    if loops == 0 and iterations not in (None, 1):
        raise ValueError(f"a network with loops=0 has one pass; got iterations={iterations}: build it with loops=1")
    if width < 16:
        raise ValueError(f"width must be at least 16, for the depth branch has a sixteenth of it; got {width}")
    if hard and gate in ("average", "none"):
        raise ValueError(f"a hard gate must choose among scales; got hard with gate={gate!r}: predicted, say")
    dilations = (1,) if gate == "none" else tuple(dilations)
    thresholds = check_thresholds(thresholds, len(dilations))

    def head(in_channels: int, recurrent: bool = False) -> PoolingHead:
        pooling = GatedPooling(make_gate(width, len(dilations)), ScaleBranches(width, dilations, tied), hard)
        return PoolingHead(in_channels, width, num_classes, pooling, recurrent)

    pyramid = Pyramid(
        backbone,
        output_stride=output_stride,
        in_chans=in_chans,
        pretrained=pretrained_backbone,
        backbone_args=backbone_args,
    )
    first = head(pyramid.channels[-1])
    if loops == 0:
        return DepthSegmenter(pyramid, first, num_classes, in_chans, freeze_bn, thresholds, unit)
    return RecurrentDepthSegmenter(
        pyramid,
        first,
        head(width + back, recurrent=True),
        num_classes,
        in_chans,
        freeze_bn,
        thresholds,
        unit,
        feedback,
        loops + 1 if iterations is None else iterations,
    )


def multiscale(
    backbone: str,
    output_stride: int = 8,
    width: int = 512,
    combine: str = "average",
    scales: tuple[float, ...] = (1.0, 0.75, 0.5),
    num_classes: int = 40,
    in_chans: int = 3,
    pretrained_backbone: bool | str = False,
    backbone_args: dict[str, Any] | None = None,
    freeze_bn: bool = True,
) -> MultiScaleSegmenter:
    """The baseline on scaled copies of the image, the rival that gated pooling is compared with (Fig. 4, MultiScale).

    Args:
        backbone: a timm model.
        output_stride: 8, or 16 or 32.
        width: channels of the head.
        combine: predictions of the copies, by "average" or "attention" (Chen et al., 2016).
        scales: of the copies, the largest first; the paper gives none, these are Chen et al.'s.
        num_classes: K.
        in_chans: channels of the image.
        pretrained_backbone: True for timm's weights, or a local file of them.
        backbone_args: further keywords of the timm model.
        freeze_bn: keep the statistics of the backbone's batch norm in training.
    """
    from ..backbones.pyramid import Pyramid
    from ..gates.depth import AverageGate, GatedPooling, ScaleBranches
    from ..gates.scale_attention import SCALE_GATES
    from ..heads.depth_pooling import PoolingHead
    from ..segmenters.multiscale import MultiScaleSegmenter
    from ..utils.choices import check_choice

    gate = SCALE_GATES[check_choice("combine", combine, SCALE_GATES)](width, len(scales))
    pyramid = Pyramid(
        backbone,
        output_stride=output_stride,
        in_chans=in_chans,
        pretrained=pretrained_backbone,
        backbone_args=backbone_args,
    )
    pooling = GatedPooling(AverageGate(width, 1), ScaleBranches(width, (1,)))
    head = PoolingHead(pyramid.channels[-1], width, num_classes, pooling)
    return MultiScaleSegmenter(pyramid, head, gate, scales, num_classes, in_chans, freeze_bn)


BASELINE = dict(gate="none", loops=0)
AVERAGE = dict(gate="average", tied=True, loops=0)
SMALL = dict(**MOBILENETV2, width=96)

register_models(
    depthgate,
    {
        "depthgate_r50": dict(backbone="resnet50"),
        "depthgate_r101": dict(backbone="resnet101"),
        # The columns of the supplement's Table 1.
        "depthgate_r101_baseline": dict(backbone="resnet101", **BASELINE),
        "depthgate_r101_average": dict(backbone="resnet101", **AVERAGE),
        "depthgate_r101_given_tied": dict(backbone="resnet101", gate="given", tied=True, loops=0),
        "depthgate_r101_given": dict(backbone="resnet101", gate="given", loops=0),
        "depthgate_r101_attention": dict(backbone="resnet101", gate="attention", loops=0),
        "depthgate_r101_predicted": dict(backbone="resnet101", loops=0),
        # The same on a small backbone, with fewer channels: 6 MB in half precision.
        "depthgate_mobilenetv2": dict(**SMALL),
        "depthgate_mobilenetv2_baseline": dict(**SMALL, **BASELINE),
        "depthgate_mobilenetv2_average": dict(**SMALL, **AVERAGE),
        "depthgate_mobilenetv2_given": dict(**SMALL, gate="given", loops=0),
        "depthgate_mobilenetv2_attention": dict(**SMALL, gate="attention", loops=0),
        "depthgate_mobilenetv2_predicted": dict(**SMALL, loops=0),
        "test_depthgate": dict(backbone="test_resnet", width=32),
        "test_depthgate_given": dict(backbone="test_resnet", width=32, gate="given", loops=1),
    },
)
register_models(
    multiscale,
    {
        "depthgate_r101_multiscale": dict(backbone="resnet101"),
        "depthgate_r101_multiscale_attention": dict(backbone="resnet101", combine="attention"),
        "test_depthgate_multiscale": dict(backbone="test_resnet", width=32, combine="attention"),
    },
)
