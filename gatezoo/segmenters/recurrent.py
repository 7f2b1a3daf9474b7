"""Networks unrolled over iterations."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ..backbones.stages import Stages
from ..gates.base import Feedback
from ..utils.autograd import count_weighted_layers
from .base import MIN_SIZE, SemanticSegmenter
from .outputs import SegmenterOutput
from .unroll import UNROLLS, Blocks, Pass


class IterativeSegmenter(SemanticSegmenter):
    """A network that predicts again and again, every time from what it found before, with the same weights.

    Attributes:
        iterations: number of passes in ``forward``; can be set, and given at the call.
        supports_anytime: each pass gives a prediction of the whole network, so that one can stop after any of them.
    """

    supports_anytime = True
    grad_checkpointing = False

    @property
    def iterations(self) -> int:
        return self._iterations

    @iterations.setter
    def iterations(self, value: int) -> None:
        self._iterations = _check_iterations(value)

    @property
    def find_unused_parameters(self) -> bool:
        return self.iterations == 1  # what feeds back rests in a single pass

    @abstractmethod
    def iterate(self, image: Tensor, iterations: int | None = None) -> Iterator[Tensor]:
        """Logits (B, K, H, W) of each pass, as soon as it is done. Stop when you like: later passes are not run."""

    def _passes(self, iterations: int | None) -> int:
        return self.iterations if iterations is None else _check_iterations(iterations)

    def _maybe_checkpoint(self, function: Callable, *arguments: Any) -> Any:
        if self.grad_checkpointing and self.training and torch.is_grad_enabled():
            return checkpoint(function, *arguments, use_reentrant=False)
        return function(*arguments)


class RecurrentSegmenter(IterativeSegmenter):
    """A network unrolled over iterations, the inputs of its blocks gated by feedback.

    Blocks 1 .. n-1 are the backbone's, block n is the head (f_n, the raw logits). In which order they run says
    :mod:`gatezoo.segmenters.unroll`. One iteration is the plain network. The number of parameters does not depend on
    their number. Batch norm is frozen in training by default (both papers froze it: its statistics would mix those of
    different passes).

    Attributes:
        iterations: their number (T, or ui) in ``forward``; can be set, and given at the call.
        unroll: "parallel" or "sequential".
    """

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
    def supports_anytime(self) -> bool:
        return self.unroll == "parallel"

    @property
    def frozen_bn_scope(self) -> nn.Module:
        return self  # the passes share the head, too

    def forward(self, image: Tensor, iterations: int | None = None) -> Tensor:
        """Logits (B, K, H, W) of the last of ``iterations`` passes (default: ``self.iterations``)."""
        padded = self._check_and_pad(image)
        for maps, _gates in self._unroll(padded, iterations):
            logits = maps[-1]
        return self._resize_to_input(logits, padded, image)

    def iterate(self, image: Tensor, iterations: int | None = None) -> Iterator[Tensor]:
        padded = self._check_and_pad(image)
        for maps, _ in self._unroll(padded, iterations):
            yield self._resize_to_input(maps[-1], padded, image)

    def outputs(self, image: Tensor, iterations: int | None = None) -> SegmenterOutput:
        padded = self._check_and_pad(image)
        passes = [
            (self._resize_to_input(maps[-1], padded, image), gates) for maps, gates in self._unroll(padded, iterations)
        ]
        logits, gates = map(list, zip(*passes))
        return SegmenterOutput(logits[-1], iterations=logits, gates=gates)

    def gate_modules(self) -> dict[int, nn.Module]:
        return self.feedback.gate_modules()

    def effective_depth(self, iterations: int | None = None) -> int:
        """Layers with weights on the longest path from image to logits, gates left out (RIGNet, Sec. 3.3).

        With l_i the layers of block i, sequential: sum l_i + (iterations - 1) * sum of the gated l_i; parallel:
        sum l_i + (iterations - 1) * the largest gated l_i.
        """
        iterations, depths = self._passes(iterations), self._depths()
        gated = [depths[block - 1] for block in self.feedback.blocks]
        return sum(depths) + (iterations - 1) * (sum(gated) if self.unroll == "sequential" else max(gated))

    def _depths(self) -> list[int]:
        """Layers on the longest path through each block."""
        training, depths = self.training, []
        self.eval()
        weight = next(self.parameters())
        x = self._check_and_pad(weight.new_zeros(1, self.in_chans, 2 * MIN_SIZE, 2 * MIN_SIZE))
        with torch.enable_grad():
            for block in range(1, len(self.backbone) + 2):
                x = self._block(block, x.detach().requires_grad_())
                depths.append(count_weighted_layers(x))
        self.train(training)
        return depths

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """As the base class says. Of each pass only the maps between blocks are kept."""
        self.grad_checkpointing = enable

    def _unroll(self, image: Tensor, iterations: int | None) -> Iterator[Pass]:
        """Maps [f_0 .. f_n] and gates {i: gate} of each pass."""
        blocks = Blocks(self._block, len(self.backbone) + 1, self.feedback, self._maybe_checkpoint)
        return UNROLLS[self.unroll](blocks, image, self._passes(iterations))

    def _block(self, number: int, x: Tensor) -> Tensor:
        return self.head(x) if number > len(self.backbone) else self.backbone.run(number, x)


def _check_iterations(value: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ValueError(f"iterations must be a whole number of passes, at least 1; got {value!r}")
    return value
