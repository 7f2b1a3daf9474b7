"""Networks with depth-aware gating: feed-forward, and refined in loops."""

from __future__ import annotations

import itertools
import math
from abc import ABC
from collections.abc import Callable, Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn

from ..backbones.pyramid import Pyramid
from ..gates.depth import GroundTruthDepthGate, PredictedGate
from ..heads.depth_pooling import Loop, PoolingHead
from ..layers.depth_bins import is_known, scale_weights
from .base import SemanticSegmenter
from .outputs import SegmenterOutput
from .recurrent import IterativeSegmenter

# In metres: between these lie the inner quintiles of the rooms of NYU-Depth-v2.
_INDOOR = (1.8, 3.8)

# A depth whose median is so many times beyond every threshold is not in their unit.
_OTHER_UNIT = 30


def check_thresholds(told: Sequence[float] | None, scales: int) -> tuple[float, ...]:
    """Thresholds between the scales; by default in equal ratios over the depths of rooms.

    Raises:
        ValueError: another number than ``scales`` - 1, or depths that are not positive or do not rise.
    """
    low, high = _INDOOR
    if told is None:
        return tuple(low * (high / low) ** (step / max(1, scales - 2)) for step in range(scales - 1))
    if len(told) != scales - 1 or not all(near < far for near, far in itertools.pairwise((0, *told, math.inf))):
        raise ValueError(f"thresholds must be {scales - 1} rising positive depths, one between two scales; got {told}")
    return tuple(told)


class DepthGated(SemanticSegmenter, ABC):
    """What the networks below share: the depth that comes in, the scales and the depth that go out.

    Attributes:
        thresholds: depths between the scales, rising, (S - 1,); saved with the weights.
        unit: of a depth that is given: "metres" or "disparity".
    """

    thresholds: Tensor

    def __init__(
        self,
        backbone: Pyramid,
        head: PoolingHead,
        num_classes: int,
        in_chans: int,
        freeze_bn: bool,
        thresholds: Sequence[float],
        unit: str,
    ):
        super().__init__(backbone, head, num_classes, in_chans, freeze_bn)
        self.register_buffer("thresholds", torch.tensor(list(thresholds)))
        self.unit = unit
        self.takes_depth = isinstance(head.pooling.gate, GroundTruthDepthGate)
        self.predicts_depth = isinstance(head.pooling.gate, PredictedGate)

    def set_thresholds(self, metres: Sequence[float]) -> None:
        """Thresholds told in metres, in the network's own unit."""
        own = metres if self.unit == "metres" else [1 / depth for depth in reversed(metres)]
        self.thresholds.copy_(torch.tensor(list(own)))

    def extra_inputs(self, maps: Mapping[str, Tensor]) -> dict[str, Tensor]:
        if not self.takes_depth:
            return {}
        if "depth" not in maps:
            raise ValueError("a network gated by a given depth needs data with depth; these have none: open them so")
        return {"depth": maps["depth"] if self.unit == "metres" else 1 / maps["depth"]}

    @property
    def find_unused_parameters(self) -> bool:
        return True  # of loop 0 without a loss of its own, and of the regression where depth is not taught

    def init_missing(self, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        """Branches that are missing start as scale 0 (Sec. 5, "replace the second 3x3-kernel layer")."""
        found = dict(tensors)
        for key in self.state_dict():
            head, dot, rest = key.partition(".branches.convs.")
            if dot and key not in found:
                source = f"{head}{dot}0.{rest.partition('.')[2]}"
                found |= {key: found[source].clone()} if source in found else {}
        return found

    def _feed_forward(self, image: Tensor, depth: Tensor | None) -> tuple[Tensor, Tensor | None, Loop]:
        """The padded images, the gate (B, S, h, w) of a depth that came with them, and loop 0."""
        padded = self._check_and_pad(image)
        self._check_depth(depth, image)
        (x,) = self.backbone(padded)
        given = None
        if depth is not None:
            depth = self._pad(depth.to(torch.promote_types(depth.dtype, torch.float32)), math.nan)
            given = scale_weights(depth, self.thresholds, x.shape[-2:], self.unit).to(x.dtype)
        return padded, given, self.head(x, given)

    def _check_depth(self, depth: Tensor | None, image: Tensor) -> None:
        if not self.takes_depth and depth is not None:
            raise ValueError("depth must be left out: this network is not gated by a given depth (gate='given' is)")
        if not self.takes_depth:
            return
        if depth is None:
            raise ValueError("a network gated by a given depth must be called with it: model(image, depth=...)")
        expected = (image.shape[0], *image.shape[-2:])
        if depth.shape != expected:
            raise ValueError(f"depth must be (B, H, W) as the images are, {expected}; got {tuple(depth.shape)}")
        if not depth.is_floating_point():
            raise ValueError(
                f"depth must be floating point, in {self.unit}; got {depth.dtype}: scale it to {self.unit}"
            )
        if not (depth.is_meta or torch.compiler.is_compiling() or torch.compiler.is_exporting()):
            self._check_values(depth)

    def _check_values(self, depth: Tensor) -> None:
        if (depth < 0).any():
            least = depth.nan_to_num().min().item()
            raise ValueError(f"depth must not be negative; got {least:.3g}: NaN or 0 marks what was not measured")
        known = depth[is_known(depth)]
        if not len(known):
            # In training a crop may well hold no measurement: its scales weigh the same.
            if self.training:
                return
            raise ValueError("depth must be known at one pixel at least; all of it is missing (NaN or 0)")
        median, low, high = known.median().item(), *self.thresholds[[0, -1]].tolist()
        if not low / _OTHER_UNIT < median < high * _OTHER_UNIT:
            raise ValueError(
                f"depth must be in {self.unit}, as the thresholds {low:.3g} .. {high:.3g} are; "
                f"its median is {median:.3g}: scale it to {self.unit}"
            )

    def _outputs(self, loops: list[Loop], padded: Tensor, image: Tensor) -> SegmenterOutput:
        logits = [self._resize_to_input(loop.logits, padded, image) for loop in loops]
        said = [loop.said for loop in loops]
        return SegmenterOutput(
            logits[-1],
            iterations=logits,
            gates=[dict(enumerate(one.weights.split(1, dim=1), start=1)) for one in said],
            scales=[one.weights for one in said],
            scale_logits=[one.logits for one in said if one.logits is not None],
            log_depth=[
                self._resize_to_input(one.log_depth, padded, image)[:, 0] for one in said if one.log_depth is not None
            ],
        )


class DepthSegmenter(DepthGated):
    """The feed-forward network: a backbone and a head whose pooling is gated.

    ``depth`` (B, H, W), NaN or 0 where it is unknown, belongs to a gate that is given it, and to no other.
    """

    def forward(self, image: Tensor, depth: Tensor | None = None) -> Tensor:
        padded, _, loop = self._feed_forward(image, depth)
        return self._resize_to_input(loop.logits, padded, image)

    def outputs(self, image: Tensor, depth: Tensor | None = None) -> SegmenterOutput:
        padded, _, loop = self._feed_forward(image, depth)
        return self._outputs([loop], padded, image)

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        self.backbone.set_grad_checkpointing(enable)


# What the text calls the prediction is in the authors' code the feature that it is made of.
FEEDBACK: dict[str, Callable[[Loop], Tensor]] = {
    "feature": lambda loop: loop.feature,
    "scores": lambda loop: loop.logits.softmax(1),
}


class RecurrentDepthSegmenter(DepthGated, IterativeSegmenter):
    """The network refined in loops (Sec. 4)::

        r, f = head(backbone(image))          loop 0, the feed-forward network
        f = recurrent([r, fed back])          loops 1 .. L, which share their weights

    A loop costs the recurrent module alone. Pass t of the zoo is loop t - 1: ``iterations`` = L + 1.
    ``depth`` as in :class:`DepthSegmenter`.

    Args:
        recurrent: takes the channels of r and of what is fed back.
        feedback: what of the loop before is fed back: "feature", f, its map before the classifier, or "scores".
    """

    def __init__(
        self,
        backbone: Pyramid,
        head: PoolingHead,
        recurrent: PoolingHead,
        num_classes: int,
        in_chans: int,
        freeze_bn: bool,
        thresholds: Sequence[float],
        unit: str,
        feedback: str,
        iterations: int,
    ):
        super().__init__(backbone, head, num_classes, in_chans, freeze_bn, thresholds, unit)
        self.recurrent = recurrent
        self.feedback = feedback
        self.iterations = iterations

    def forward(self, image: Tensor, iterations: int | None = None, depth: Tensor | None = None) -> Tensor:
        """Logits (B, K, H, W) of the last of ``iterations`` passes, loop ``iterations`` - 1."""
        padded, loops = self._loops(image, iterations, depth)
        for loop in loops:
            logits = loop.logits
        return self._resize_to_input(logits, padded, image)

    def iterate(self, image: Tensor, iterations: int | None = None, depth: Tensor | None = None) -> Iterator[Tensor]:
        padded, loops = self._loops(image, iterations, depth)
        for loop in loops:
            yield self._resize_to_input(loop.logits, padded, image)

    def outputs(self, image: Tensor, iterations: int | None = None, depth: Tensor | None = None) -> SegmenterOutput:
        padded, loops = self._loops(image, iterations, depth)
        return self._outputs(list(loops), padded, image)

    def init_missing(self, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        """A recurrent module that is missing starts as a repetition of loop 0.

        Its pooling and classifier are copies of the head's; its other convolutions pass r and the pooled map on as
        they are, and the feedback counts as much as training makes of it.
        """
        found = super().init_missing(tensors)
        if any(key.startswith("recurrent.") for key in found):
            return found
        for key in self.recurrent.state_dict():
            if key.startswith(("pooling.", "classify.")) and f"head.{key}" in found:
                found[f"recurrent.{key}"] = found[f"head.{key}"].clone()
        for part in ("reduce", "mix"):
            weight = self.recurrent.get_submodule(part)[0].weight
            found[f"recurrent.{part}.0.weight"] = nn.init.dirac_(torch.empty_like(weight))
        return found

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """As the base class says. Of each loop after the first only what it is fed is kept."""
        self.backbone.set_grad_checkpointing(enable)
        self.grad_checkpointing = enable

    def _loops(self, image: Tensor, iterations: int | None, depth: Tensor | None) -> tuple[Tensor, Iterator[Loop]]:
        """The padded images, and the loops, run as they are asked for."""
        passes = self._passes(iterations)
        padded, given, first = self._feed_forward(image, depth)

        def run() -> Iterator[Loop]:
            yield first
            loop = first
            for _ in range(passes - 1):
                back = FEEDBACK[self.feedback](loop)
                loop = self._maybe_checkpoint(self.recurrent, torch.cat([first.reduced, back], 1), given)
                yield loop

        return padded, run()
