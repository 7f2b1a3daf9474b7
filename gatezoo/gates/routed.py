"""Alternatives to block-wise gating that feed back the prediction alone (RIGNet, Table 6)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ..layers.resize import resize_to
from .base import Feedback
from .iterative import GateBank


class RoutedFeedback(GateBank):
    """Feedback of the prediction to every gated block, each through a separate basic gate: gate_i = G_i(f_n).

    The paper describes it as "routing similar to" a network that feeds its prediction to each of its stages, with the
    paper's gate attached. If block 1 alone is gated, it is the gated network-wide recurrence.
    """

    @staticmethod
    def gate_in_channels(channels: Sequence[int], block: int) -> int:
        return channels[-1]

    def forward(self, maps: Sequence[Tensor]) -> dict[int, Tensor]:
        return {i: self.gates[str(i)](maps[-1], maps[i - 1].shape[-2:]) for i in self.blocks}


class NetworkWideFeedback(Feedback):
    """Feedback of the prediction to the image: f_0' = W * [image, up(softmax(f_n))], W a 3x3 convolution with bias.

    W is initialized to the identity of the image, so that at first the second pass equals the first. Here alone
    probabilities are fed back and not logits: the paper adapts a network that takes "an input image and the label
    predictions from the previous iteration" (Sec. 2), where all its own gates read "the output" of a block (Sec. 3.4).

    Args:
        channels: channels of f_0 (the image), f_1, ..., f_n (the classes).
    """

    blocks = (1,)

    def __init__(self, channels: Sequence[int]):
        super().__init__()
        self.join = nn.Conv2d(channels[0] + channels[-1], channels[0], 3, padding=1)
        nn.init.dirac_(self.join.weight)
        assert self.join.bias is not None
        nn.init.zeros_(self.join.bias)

    def forward(self, maps: Sequence[Tensor]) -> dict[int, Tensor]:
        return {1: resize_to(maps[-1].softmax(1), maps[0].shape[-2:])}

    def modulate(self, gate: Tensor, x: Tensor) -> Tensor:
        return self.join(torch.cat([x, gate], 1))
