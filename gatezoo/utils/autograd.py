"""Inspect the autograd graph of a computation."""

from __future__ import annotations

from typing import Any

from torch import Tensor

# Autograd's names of convolutions, of linear layers with bias, and of those without.
WEIGHTED = ("ConvolutionBackward", "AddmmBackward", "MmBackward")


def count_weighted_layers(output: Tensor) -> int:
    """Return the number of convolutions and linear layers on the longest path from the inputs to ``output``."""
    lengths: dict[Any, int] = {}
    stack: list[Any] = [output.grad_fn]
    while stack:
        node = stack[-1]
        inputs = [function for function, _ in node.next_functions if function is not None]
        pending = [function for function in inputs if function not in lengths]
        if pending:
            stack += pending
            continue
        lengths[node] = max((lengths[function] for function in inputs), default=0) + node.name().startswith(WEIGHTED)
        stack.pop()
    return lengths[output.grad_fn]
