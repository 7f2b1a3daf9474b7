"""Semantic segmentation networks that are unrolled over iterations."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ..backbones.stages import Stages
from ..gates.base import Feedback
from ..utils.text import shorten
from .base import SemanticSegmenter
from .outputs import PassOutput, SegmenterOutput
from .unroll import UNROLLS, BlockChain

# Predictions settle within ten passes; more than this is a slip of the keyboard that would run for days.
MAX_PASSES = 100


class IterativeSegmenter(SemanticSegmenter):
    """A network that predicts several times with the same weights, each time from what it found before."""

    grad_checkpointing = False

    @property
    def supports_anytime(self) -> bool:
        """Whether each pass gives a prediction of the whole network, so that one can stop after any of them."""
        return True

    @property
    def capabilities(self) -> frozenset[str]:
        anytime = {"anytime"} if self.supports_anytime else set()
        return super().capabilities | {"iterations"} | anytime

    @property
    def iterations(self) -> int:
        """Number of passes in ``forward``; can be set, and given at the call."""
        return self._iterations

    @iterations.setter
    def iterations(self, value: int) -> None:
        self._iterations = check_iterations(value)

    @property
    def find_unused_parameters(self) -> bool:
        return self.iterations == 1  # the feedback is not used in a single pass

    def forward(self, image: Tensor, iterations: int | None = None) -> Tensor:
        """Compute the logits (B, K, H, W) of the last of ``iterations`` passes (default: ``self.iterations``)."""
        return self._last_logits(image, iterations=iterations)

    def iterate(self, image: Tensor, iterations: int | None = None) -> Iterator[Tensor]:
        """Yield the logits (B, K, H, W) of each pass as soon as it is done; later passes run only if requested."""
        return self._iterate_logits(image, iterations=iterations)

    def outputs(self, image: Tensor, iterations: int | None = None) -> SegmenterOutput:
        return self._collect_outputs(image, iterations=iterations)

    def resolve_iterations(self, iterations: int | None) -> int:
        """Return the number of passes of a call: as given, or the network's own.

        Raises:
            ValueError: anything but a whole number in 1 .. ``MAX_PASSES``.
        """
        return self.iterations if iterations is None else check_iterations(iterations)

    def _maybe_checkpoint(self, function: Callable[..., Any], *arguments: Any) -> Any:
        if self.grad_checkpointing and self.training and torch.is_grad_enabled():
            return checkpoint(function, *arguments, use_reentrant=False)
        return function(*arguments)


class RecurrentSegmenter(IterativeSegmenter):
    """A network unrolled over iterations, with the inputs of its blocks gated by feedback.

    Blocks 1 .. n-1 are the backbone's, block n is the head (f_n, the raw logits). :mod:`gatezoo.segmenters.unroll`
    defines the order in which they run. One iteration is the plain network. The number of parameters does not depend
    on the number of iterations.

    The statistics of batch norm are frozen in training by default, as they would mix those of different passes; its
    scale and shift are trained. The papers leave this open: DIGNet does without "training batch norm parameters"
    (Sec. 4.3), which are scale and shift if taken literally, and RIGNet does not mention batch norm. A norm whose scale
    does not require a gradient keeps its statistics, too: ``requires_grad_(False)`` on both gives the literal reading.

    Args:
        backbone: blocks 1 .. n-1.
        head: block n.
        feedback: turns the maps of a pass into the gates of the next.
        num_classes: K.
        in_chans: channels of the image.
        iterations: number of passes in ``forward``.
        freeze_bn: keep the statistics of batch norm in training, the head's included.
        unroll: "parallel" or "sequential".

    Attributes:
        iterations: their number (T, or ui) in ``forward``; can be set, and given at the call.
        unroll: "parallel" or "sequential".
    """

    backbone: Stages

    def __init__(
        self,
        backbone: Stages,
        head: nn.Module,
        feedback: Feedback,
        num_classes: int,
        in_chans: int = 3,
        iterations: int = 2,
        freeze_bn: bool = True,
        unroll: str = "parallel",
    ):
        super().__init__(backbone, head, num_classes, in_chans, freeze_bn)
        self.feedback = feedback
        self.iterations = iterations
        self.unroll = unroll

    @property
    def chain(self) -> BlockChain:
        """The blocks of the network, in order."""
        return BlockChain(self.backbone, self.head)

    @property
    def supports_anytime(self) -> bool:
        return self.unroll == "parallel"

    @property
    def frozen_bn_scope(self) -> nn.Module:
        return self  # the passes share the head, too

    def gate_modules(self) -> dict[int, nn.Module]:
        return self.feedback.gate_modules()

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """In training, keep only the maps between blocks of each pass, and recompute the rest in the backward pass."""
        self.grad_checkpointing = enable

    def run_passes(self, padded: Tensor, details: bool, iterations: int | None = None) -> Iterator[PassOutput]:
        unroll = UNROLLS[self.unroll]
        passes = self.resolve_iterations(iterations)
        for maps, gates in unroll(self.chain, self.feedback, padded, passes, self._maybe_checkpoint):
            yield PassOutput(maps[-1], gates)


def check_iterations(value: int) -> int:
    """Return a number of passes.

    Raises:
        ValueError: anything but a whole number in 1 .. ``MAX_PASSES``.
    """
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= MAX_PASSES:
        raise ValueError(
            f"iterations must be a whole number of passes, 1 to {MAX_PASSES}; got {shorten(value)}: 2 to 7 are usual"
        )
    return value
