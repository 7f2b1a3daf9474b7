"""The autograd graph of a computation, looked at."""

from __future__ import annotations

from torch import Tensor

# What autograd calls convolutions, linear layers with bias, and without.
WEIGHTED = ("ConvolutionBackward", "AddmmBackward", "MmBackward")


def count_weighted_layers(output: Tensor) -> int:
    """Convolutions and linear layers on the longest path to a tensor from what it was computed of."""
    lengths: dict[object, int] = {}
    waiting = [output.grad_fn]
    while waiting:
        node = waiting[-1]
        below = [function for function, _ in node.next_functions if function is not None]
        open_ = [function for function in below if function not in lengths]
        if open_:
            waiting += open_
            continue
        lengths[node] = max((lengths[function] for function in below), default=0) + node.name().startswith(WEIGHTED)
        waiting.pop()
    return lengths[output.grad_fn]
