"""Distributed iterative gating: propagators and modulators of a whole network (DIGNet, Sec. 3, Algorithm 1)."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from ..utils.choices import check_choice
from .base import Feedback
from .modulator import Modulator
from .propagator import Propagator

# Widths of the propagators from the block below the classifier downwards: of the 3x3 convolution of the feature,
# of that of the feedback, and of the signal. Taken from the authors' code; the paper gives none.
WIDTHS = ((128, 128, 256), (128, 256, 256), (64, 128, 128), (32, 64, 64), (16, 32, 32))

# Table 2: the inputs of each propagator.
ROUTINGS = {
    "cascade": ("feature", "feedback"),
    "stage": ("feature",),
    "last": ("prediction",),
}


def _sources(routing: str, k: int, features: Sequence, signals: dict) -> list:
    """Return the inputs of propagator k, given features [f_0 .. f_n] and signals {k: F_k}, or their channels."""
    pick = {"feature": lambda: features[k], "feedback": lambda: signals[k + 1], "prediction": lambda: features[-1]}
    return [pick[kind]() for kind in ROUTINGS[routing]]


class DistributedFeedback(Feedback):
    """Feedback through a cascade of propagators, with a modulator for each gated block.

    ::

        F_n = f_n;  F_k = propagator_k(F_{k+1}, f_k) for k = n-1 .. shallowest;  gate_i = modulator_i(F_i)

    Each gate has the size of f_{i-1}, the map that it multiplies.

    The text contradicts itself about F_n. Algorithm 1 has F_n = f_n, the output of the last block, as it is here:
    logits. Sec. 4.2 propagates "the predicted probability", which would be their softmax, and a sentence later
    "semantic features extracted from the last layer", which would be the map before the classifier. Dropout is named
    nowhere; a head's dropout is part of block n, so that in training the feedback starts behind it.

    Args:
        channels: channels of f_0 (the image), f_1, ..., f_n (the classes).
        shallowest: first gated block, 1 .. n (Table 3: 6 gates F6 alone, 1 all of F1 .. F6).
        routing: "cascade" (DIGNet), or an alternative of Table 2: "stage", the output of the block itself;
            "last", the prediction alone.
        bins: grids of the modulators' spatial pyramid; empty for the plain 1x1 of Table 1.

    Raises:
        ValueError: ``shallowest`` is not a block, or ``routing`` is unknown.
    """

    def __init__(
        self,
        channels: Sequence[int],
        shallowest: int = 1,
        routing: str = "cascade",
        bins: Sequence[int] = (1, 3, 5, 7),
    ):
        super().__init__()
        last = len(channels) - 1
        if not 1 <= shallowest <= last:
            raise ValueError(
                f"shallowest must be a block of this network, 1 .. {last}; got {shallowest}: pass one of them"
            )
        self.blocks = range(shallowest, last + 1)
        self.routing = check_choice("feedback", routing, ROUTINGS)
        self.propagators = nn.ModuleDict()
        self.modulators = nn.ModuleDict()
        signals = {last: channels[last]}
        for k in range(last - 1, shallowest - 1, -1):
            # Networks with more blocks than the authors' repeat the narrowest row.
            feature, feedback, out = WIDTHS[min(last - 1 - k, len(WIDTHS) - 1)]
            width = {"feature": feature, "feedback": feedback, "prediction": feedback}
            self.propagators[str(k)] = Propagator(
                _sources(routing, k, channels, signals), [width[kind] for kind in ROUTINGS[routing]], out
            )
            signals[k] = out
        for i in range(last, shallowest - 1, -1):
            self.modulators[str(i)] = Modulator(signals[i], channels[i - 1], bins)

    def forward(self, maps: Sequence[Tensor]) -> dict[int, Tensor]:
        """Return gates {i: (B, C_{i-1}, *size of f_{i-1})}, given maps [f_0, ..., f_n] of the previous pass."""
        last = len(maps) - 1
        signals = {last: maps[last]}
        for k in range(last - 1, self.shallowest - 1, -1):
            signals[k] = self.propagators[str(k)](_sources(self.routing, k, maps, signals))
        return {i: self.modulators[str(i)](signal, maps[i - 1].shape[-2:]) for i, signal in signals.items()}

    def gate_modules(self) -> dict[int, nn.Module]:
        return {int(block): gate for block, gate in self.modulators.items()}
