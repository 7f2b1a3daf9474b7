"""Networks with depth-aware gating: feed-forward, and refined in loops."""

from __future__ import annotations

import math
from abc import ABC
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..backbones.pyramid import Pyramid
from ..backbones.wide_resnet import WiderResNet38
from ..gates.depth import GroundTruthDepthGate, PredictedGate
from ..heads.depth_pooling import HeadOutput, PoolingHead
from ..layers.depth_bins import is_known, scale_weights
from ..layers.resize import is_tracing
from .base import SemanticSegmenter
from .depth_scale import DepthScale
from .methods import classifier_of
from .outputs import PassOutput, SegmenterOutput
from .recurrent import IterativeSegmenter

# A depth whose median is this many times beyond every threshold is not in their unit.
_OTHER_UNIT = 30


class DepthGated(SemanticSegmenter, ABC):
    """A network that is gated by scale: checks the depth at the call, reports the scales and the depth.

    Args:
        backbone: of the deepest map alone.
        head: the feed-forward network.
        num_classes: K.
        in_chans: channels of the image.
        freeze_bn: keep the statistics of the backbone's batch norm in training.
        depth_scale: thresholds between the scales, and their unit.
        gate: of the scales; default: that of the head's pooling.

    Attributes:
        thresholds: depths between the scales, rising, (S - 1,); saved with the weights.
        unit: of a depth that is given: "metres" or "disparity".
    """

    head: PoolingHead
    thresholds: Tensor

    def __init__(
        self,
        backbone: Pyramid | WiderResNet38,
        head: PoolingHead,
        num_classes: int,
        in_chans: int,
        freeze_bn: bool,
        depth_scale: DepthScale,
        gate: nn.Module | None = None,
    ):
        super().__init__(backbone, head, num_classes, in_chans, freeze_bn)
        self.register_buffer("thresholds", torch.tensor(list(depth_scale.thresholds)))
        self.unit = depth_scale.unit
        gate = gate or head.pooling.gate
        self.takes_depth = isinstance(gate, GroundTruthDepthGate)
        self.predicts_depth = isinstance(gate, PredictedGate)

    def set_thresholds(self, metres: Sequence[float]) -> None:
        """Set the thresholds, given in metres; they are stored in the network's unit."""
        values = metres if self.unit == "metres" else [1 / depth for depth in reversed(metres)]
        self.thresholds.copy_(torch.tensor(list(values)))

    def extra_inputs(self, maps: Mapping[str, Tensor]) -> dict[str, Tensor]:
        if not self.takes_depth:
            return {}
        if "depth" not in maps:
            raise ValueError(
                "data must have depth for a network gated by a given depth; these have none: load depth too"
            )
        return {"depth": maps["depth"] if self.unit == "metres" else 1 / maps["depth"]}

    @property
    def find_unused_parameters(self) -> bool:
        return True  # of loop 0 without a loss of its own, and of the regression where depth is not taught

    def init_missing(self, state_dict: dict[str, Tensor]) -> dict[str, Tensor]:
        """Start branches that are missing as scale 0 (Sec. 5, "replace the second 3x3-kernel layer")."""
        found = dict(state_dict)
        for key in self.state_dict():
            head, dot, rest = key.partition(".branches.convs.")
            if dot and key not in found:
                source = f"{head}{dot}0.{rest.partition('.')[2]}"
                found |= {key: found[source].clone()} if source in found else {}
        return found

    def _run_head(self, padded: Tensor, depth: Tensor | None) -> tuple[HeadOutput, Tensor | None]:
        """Run the feed-forward network: its output, and the gate (B, S, h, w) of a depth that is given."""
        (x,) = self.backbone(padded)
        given = self._given_weights(depth, x)
        return self.head(x, given), given

    def _given_weights(self, depth: Tensor | None, x: Tensor) -> Tensor | None:
        """Return the gate (B, S, h, w) of a depth that is given, for a map (B, C, h, w); None without depth."""
        return None if depth is None else scale_weights(depth, self.thresholds, x.shape[-2:], self.unit).to(x.dtype)

    def _check_inputs(self, inputs: dict[str, Any], image: Tensor) -> dict[str, Any]:
        depth: Tensor | None = inputs.get("depth")
        self._check_depth(depth, image)
        if depth is not None:
            depth = self._pad(depth.to(torch.promote_types(depth.dtype, torch.float32)), math.nan)
        return {**inputs, "depth": depth}

    def _check_depth(self, depth: Tensor | None, image: Tensor) -> None:
        if not self.takes_depth:
            if depth is not None:
                raise ValueError("depth must be left out: this network is not gated by a given depth (gate='given' is)")
            return
        if depth is None:
            raise ValueError("depth must be given to a network gated by it; got None: call model(image, depth=...)")
        expected = (image.shape[0], *image.shape[-2:])
        if depth.shape != expected:
            raise ValueError(f"depth must be (B, H, W) as the images are, {expected}; got {tuple(depth.shape)}")
        if not depth.is_floating_point():
            raise ValueError(
                f"depth must be floating point, in {self.unit}; got {depth.dtype}: scale it to {self.unit}"
            )
        if not (depth.is_meta or is_tracing()):
            self._check_values(depth)

    def _check_values(self, depth: Tensor) -> None:
        if (depth < 0).any():
            least = depth.nan_to_num().min().item()
            raise ValueError(
                f"depth must not be negative; got {least:.3g}: set pixels without a measurement to NaN or 0"
            )
        known = depth[is_known(depth)]
        if not len(known):
            # In training a crop may well hold no measurement: its scales weigh the same.
            if self.training:
                return
            raise ValueError("depth must be known at one pixel at least; all of it is missing (NaN or 0)")
        if not len(self.thresholds):
            return
        median, low, high = known.median().item(), *self.thresholds[[0, -1]].tolist()
        if not low / _OTHER_UNIT < median < high * _OTHER_UNIT:
            raise ValueError(
                f"depth must be in {self.unit}, as the thresholds {low:.3g} .. {high:.3g} are; "
                f"its median is {median:.3g}: scale it to {self.unit}"
            )


def depth_output(output: HeadOutput, details: bool) -> PassOutput:
    """Return the output of a pass, with ``details`` also the gates, scales and depth."""
    if not details:
        return PassOutput(output.logits)
    gate = output.gate
    gates = dict(enumerate(gate.weights.split(1, dim=1), start=1))
    return PassOutput(output.logits, gates, (), gate.weights, gate.logits, gate.log_depth)


class DepthSegmenter(DepthGated):
    """A feed-forward network: a backbone and a head whose pooling is gated.

    ``depth`` (B, H, W), NaN or 0 where it is unknown, is required by a gate of given depth, and refused by any other.
    """

    def forward(self, image: Tensor, depth: Tensor | None = None) -> Tensor:
        return self._last_logits(image, depth=depth)

    def outputs(self, image: Tensor, depth: Tensor | None = None) -> SegmenterOutput:
        return self._collect_outputs(image, depth=depth)

    def run_passes(self, padded: Tensor, details: bool, depth: Tensor | None = None) -> Iterator[PassOutput]:
        output, _ = self._run_head(padded, depth)
        yield depth_output(output, details)


# Where the paper feeds back the prediction, the authors' code feeds back the feature that it is made of.
FEEDBACK: dict[str, Callable[[HeadOutput], Tensor]] = {
    "feature": lambda output: output.feature,
    "scores": lambda output: output.logits.softmax(1),
}


class RecurrentDepthSegmenter(DepthGated, IterativeSegmenter):
    """A network with depth-aware gating that is refined in loops (Sec. 4).

    ::

        r, f = head(backbone(image))          loop 0, the feed-forward network
        f = recurrent([r, fed back])          loops 1 .. L, which share their weights

    A loop costs the recurrent module alone. Pass t of the zoo is loop t - 1: ``iterations`` = L + 1.
    ``depth`` as in :class:`DepthSegmenter`.

    Args:
        backbone: of the deepest map alone.
        head: of loop 0.
        recurrent: takes the channels of r and of what is fed back.
        num_classes: K.
        in_chans: channels of the image.
        freeze_bn: keep the statistics of the backbone's batch norm in training.
        depth_scale: thresholds between the scales, and their unit.
        feedback: what of the loop before is fed back: "feature", f, its map before the classifier, or "scores".
        iterations: number of passes in ``forward``.
    """

    def __init__(
        self,
        backbone: Pyramid | WiderResNet38,
        head: PoolingHead,
        recurrent: PoolingHead,
        num_classes: int,
        in_chans: int,
        freeze_bn: bool,
        depth_scale: DepthScale,
        feedback: str,
        iterations: int,
    ):
        super().__init__(backbone, head, num_classes, in_chans, freeze_bn, depth_scale)
        self.recurrent = recurrent
        self.feedback = feedback
        self.iterations = iterations

    def get_classifier(self) -> nn.Module:
        return nn.ModuleList([classifier_of(self.head), classifier_of(self.recurrent)])

    def forward(self, image: Tensor, iterations: int | None = None, depth: Tensor | None = None) -> Tensor:
        """Compute the logits (B, K, H, W) of the last of ``iterations`` passes, loop ``iterations`` - 1."""
        return self._last_logits(image, iterations=iterations, depth=depth)

    def iterate(self, image: Tensor, iterations: int | None = None, depth: Tensor | None = None) -> Iterator[Tensor]:
        return self._iterate_logits(image, iterations=iterations, depth=depth)

    def outputs(self, image: Tensor, iterations: int | None = None, depth: Tensor | None = None) -> SegmenterOutput:
        return self._collect_outputs(image, iterations=iterations, depth=depth)

    def run_passes(
        self, padded: Tensor, details: bool, iterations: int | None = None, depth: Tensor | None = None
    ) -> Iterator[PassOutput]:
        passes = self.resolve_iterations(iterations)
        output, given = self._run_head(padded, depth)
        reduced = output.reduced
        yield depth_output(output, details)
        for _ in range(passes - 1):
            fed_back = FEEDBACK[self.feedback](output)
            output = self._maybe_checkpoint(self.recurrent, torch.cat([reduced, fed_back], 1), given)
            yield depth_output(output, details)

    def init_missing(self, state_dict: dict[str, Tensor]) -> dict[str, Tensor]:
        """Start a recurrent module that is missing as a repetition of loop 0.

        Its pooling and classifier are copies of the head's; its other convolutions pass r and the pooled map on as
        they are, and training decides how much the feedback counts.
        """
        found = super().init_missing(state_dict)
        if any(key.startswith("recurrent.") for key in found):
            return found
        for key in self.recurrent.state_dict():
            if key.startswith(("pooling.", "classify.")) and f"head.{key}" in found:
                found[f"recurrent.{key}"] = found[f"head.{key}"].clone()
        for part in ("reduce", "mix"):
            weight = self.recurrent.get_parameter(f"{part}.0.weight")
            found[f"recurrent.{part}.0.weight"] = nn.init.dirac_(torch.empty_like(weight))
        return found

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """In training, keep only the inputs of each loop after the first, and recompute the rest when going back."""
        super().set_grad_checkpointing(enable)
        self.grad_checkpointing = enable
