"""Depth-aware gating: recurrent scene parsing with perspective understanding in the loop (Kong and Fowlkes, CVPR 2018).

The pooling field of every pixel follows its depth: five dilated convolutions of one map, weighted by a depth that the
network predicts from the image (or is given). A recurrent module refines segmentation and depth in loops.

Published results (mIoU, Table 2): NYU-Depth-v2 on ResNet-50 40.6 (baseline) -> 43.1 (loop 2), Cityscapes val on
ResNet-101 73.8 -> 77.6; depth on NYU-Depth-v2 80.9 % within a factor of 1.25 (Table 1).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..backbones.spec import BackboneSpec
from ..registry import register_models
from .fcn import LITE0, MOBILENETV2

if TYPE_CHECKING:
    from ..segmenters.depth import DepthSegmenter, RecurrentDepthSegmenter
    from ..segmenters.depth_scale import DepthScale
    from ..segmenters.multiscale import DepthMultiScaleSegmenter, MultiScaleSegmenter


def depthgate(
    backbone: BackboneSpec,
    num_classes: int = 40,
    freeze_bn: bool = True,
    *,
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
) -> DepthSegmenter | RecurrentDepthSegmenter:
    """Build a network with depth-aware gating.

    Args:
        backbone: a timm model.
        num_classes: K.
        freeze_bn: keep the statistics of the backbone's batch norm in training.
        width: channels of the head; the depth branch has a quarter and a sixteenth of them.
        gate: "predicted" depth, "given" depth (``depth=`` at the call), "attention" (no depth), "average", or "none",
            the baseline with one branch.
        tied: one kernel for all branches.
        dilations: of the branches, from far to near.
        loops: of the recurrent module, L; 0 leaves it out. If there are several, they share their weights.
        iterations: passes in ``forward``; default: ``loops`` + 1.
        feedback: what a loop reads of the one before: its "feature" or its "scores".
        thresholds: depths between the scales; training sets them to quantiles of its data, equally many pixels each.
        unit: of a given depth and of the thresholds: "metres" or "disparity".
        hard: in evaluation mode, compute at every pixel only the scale with the largest weight.

    Raises:
        ValueError: keywords that contradict each other.
    """
    from ..gates.depth import DEPTH_GATES, GatedPooling, ScaleBranches
    from ..heads.depth_pooling import PoolingHead
    from ..layers.conv import ConvNormAct
    from ..segmenters.depth import FEEDBACK, DepthSegmenter, RecurrentDepthSegmenter
    from ..utils.choices import check_choice

    make_gate = DEPTH_GATES[check_choice("gate", gate, DEPTH_GATES)]
    back = {"feature": width, "scores": num_classes}[check_choice("feedback", feedback, FEEDBACK)]
    if loops < 0:
        raise ValueError(f"loops must be at least 0; got {loops}: pass 0 for a feed-forward network")
    if loops == 0 and iterations not in (None, 1):
        raise ValueError(f"iterations must be 1 for a network with loops=0; got {iterations}: pass loops=1")
    if width < 16:
        raise ValueError(f"width must be at least 16, as the depth branch has a sixteenth of it; got {width}: pass 16")
    if hard and gate in ("average", "none"):
        raise ValueError(f"hard must be of a gate that weights scales; got gate={gate!r}: pass gate='predicted'")
    dilations = (1,) if gate == "none" else tuple(dilations)
    depth_scale = _depth_scale("gate", gate, len(dilations), thresholds, unit)

    def make_pooling() -> GatedPooling:
        return GatedPooling(make_gate(width, len(dilations)), ScaleBranches(width, dilations, tied), hard)

    pyramid = backbone.pyramid()
    head = PoolingHead(pyramid.channels[-1], width, num_classes, make_pooling())
    if loops == 0:
        return DepthSegmenter(pyramid, head, num_classes, backbone.in_chans, freeze_bn, depth_scale)
    recurrent = PoolingHead(
        width + back, width, num_classes, make_pooling(), mix=ConvNormAct(width, width, 1), dropout=0.1
    )
    return RecurrentDepthSegmenter(
        pyramid,
        head,
        recurrent,
        num_classes,
        backbone.in_chans,
        freeze_bn,
        depth_scale,
        feedback,
        loops + 1 if iterations is None else iterations,
    )


def _depth_scale(name: str, gate: str, scales: int, thresholds: tuple[float, ...] | None, unit: str) -> DepthScale:
    """Return the division of depth into scales, for a gate that the keyword ``name`` chooses."""
    from ..layers.depth_bins import NEARER
    from ..segmenters.depth_scale import DepthScale, check_thresholds
    from ..utils.choices import check_choice

    check_choice("unit", unit, NEARER)
    if gate == "predicted" and unit != "metres":
        raise ValueError(f"unit must be 'metres' for a predicted depth; got {unit!r}: pass {name}='given'")
    return DepthScale(check_thresholds(thresholds, scales), unit)


def multiscale(
    backbone: BackboneSpec,
    num_classes: int = 40,
    freeze_bn: bool = True,
    *,
    width: int = 512,
    combine: str = "average",
    scales: tuple[float, ...] = (1.0, 0.75, 0.5),
    thresholds: tuple[float, ...] | None = None,
    unit: str = "metres",
) -> MultiScaleSegmenter | DepthMultiScaleSegmenter:
    """Build the network on scaled copies of the image, which gated pooling is compared with (Fig. 4, MultiScale).

    Args:
        backbone: a timm model.
        num_classes: K.
        freeze_bn: keep the statistics of the backbone's batch norm in training.
        width: channels of the head.
        combine: predictions of the copies, by "average", "attention" (Chen et al., 2016), or depth: "predicted", or
            "given" at the call. The farther a pixel, the larger the copy that it is read from.
        scales: of the copies, the largest first; the paper gives none, these are Chen et al.'s.
        thresholds: depths between the scales, if depth combines them; see :func:`depthgate`.
        unit: of a given depth and of the thresholds: "metres" or "disparity".

    Raises:
        ValueError: keywords that contradict each other.
    """
    from ..gates.depth import DEPTH_GATES, AverageGate, GatedPooling, ScaleBranches
    from ..gates.scale_attention import SCALE_GATES
    from ..heads.depth_pooling import PoolingHead
    from ..segmenters.multiscale import DepthMultiScaleSegmenter, MultiScaleSegmenter
    from ..utils.choices import check_choice

    by_depth = ("predicted", "given")
    check_choice("combine", combine, (*SCALE_GATES, *by_depth))
    if combine in by_depth and (not scales or list(scales) != sorted(scales, reverse=True)):
        raise ValueError(f"scales must fall, for copies from far to near; got {scales}: sort them")
    if combine not in by_depth and (thresholds is not None or unit != "metres"):
        raise ValueError(f"thresholds and unit must be of a depth; got them for combine={combine!r}: leave them out")
    pyramid = backbone.pyramid()
    pooling = GatedPooling(AverageGate(width, 1), ScaleBranches(width, (1,)))
    head = PoolingHead(pyramid.channels[-1], width, num_classes, pooling)
    if combine not in by_depth:
        weigh = SCALE_GATES[combine](width, len(scales))
        return MultiScaleSegmenter(pyramid, head, weigh, scales, num_classes, backbone.in_chans, freeze_bn)
    depth_scale = _depth_scale("combine", combine, len(scales), thresholds, unit)
    gate = DEPTH_GATES[combine](width, len(scales))
    return DepthMultiScaleSegmenter(pyramid, head, gate, scales, num_classes, backbone.in_chans, freeze_bn, depth_scale)


PAPER = (
    "Depth-aware gating: recurrent scene parsing with perspective understanding in the loop "
    "(Kong and Fowlkes, CVPR 2018)"
)
# The columns of the supplement's Table 1 that every backbone has.
VARIANTS: dict[str, dict[str, Any]] = {
    "baseline": dict(gate="none", loops=0),
    "average": dict(gate="average", tied=True, loops=0),
    "given": dict(gate="given", loops=0),
    "attention": dict(gate="attention", loops=0),
    "predicted": dict(loops=0),
}
R101: dict[str, Any] = dict(backbone="resnet101")
# Fewer channels for small backbones.
SMALL_MOBILENETV2: dict[str, Any] = dict(**MOBILENETV2, width=96)
SMALL_LITE0: dict[str, Any] = dict(**LITE0, width=96)

register_models(
    depthgate,
    {
        "depthgate_r50": dict(backbone="resnet50"),
        "depthgate_r101": R101,
        "depthgate_r101_given_tied": dict(**R101, gate="given", tied=True, loops=0),
        "depthgate_mobilenetv2": SMALL_MOBILENETV2,
        "depthgate_lite0": SMALL_LITE0,
        **{f"depthgate_r101_{name}": {**R101, **row} for name, row in VARIANTS.items()},
        **{f"depthgate_mobilenetv2_{name}": {**SMALL_MOBILENETV2, **row} for name, row in VARIANTS.items()},
        **{f"depthgate_lite0_{name}": {**SMALL_LITE0, **row} for name, row in VARIANTS.items()},
        "test_depthgate": dict(backbone="test_resnet", width=32),
        "test_depthgate_given": dict(backbone="test_resnet", width=32, gate="given", loops=1),
    },
    family="depthgate",
    paper=PAPER,
    output_stride=8,
)
register_models(
    multiscale,
    {
        "depthgate_r101_multiscale": dict(backbone="resnet101"),
        "depthgate_r101_multiscale_attention": dict(backbone="resnet101", combine="attention"),
        "depthgate_r101_multiscale_predicted": dict(backbone="resnet101", combine="predicted"),
        "test_depthgate_multiscale": dict(backbone="test_resnet", width=32, combine="attention"),
    },
    family="depthgate",
    paper=PAPER,
    output_stride=8,
)
