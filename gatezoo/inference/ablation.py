"""Set a gate to zero."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from torch.utils.hooks import RemovableHandle

from ..segmenters.base import SemanticSegmenter
from ..utils.modules import copy_for_inference


@contextlib.contextmanager
def ablate_gate(model: SemanticSegmenter, name: str) -> Iterator[str]:
    """Set a gate to zero everywhere within the context, which yields the gate's name, such as "G2".

    Every call of the network within the context is affected, those of other threads too; :func:`without_gate` leaves
    the network as it is.

    Args:
        model: a network with gates.
        name: of the gate: "G2", "g2" or "2".

    Raises:
        ValueError: the network has no gate of this name.
    """
    key, handle = _close(model, name)
    try:
        yield key
    finally:
        handle.remove()


def without_gate(model: SemanticSegmenter, name: str) -> SemanticSegmenter:
    """Return a copy of a network, in evaluation mode and with the same weights, in which a gate is always zero.

    Arguments and errors are those of :func:`ablate_gate`.
    """
    ablated = copy_for_inference(model)
    _close(ablated, name)
    return ablated


def _close(model: SemanticSegmenter, name: str) -> tuple[str, RemovableHandle]:
    """Set a gate to zero until the handle is removed; return the gate's name too."""
    modules = {f"G{number}": module for number, module in sorted(model.gate_modules().items())}
    key = f"G{str(name).upper().removeprefix('G')}"
    if key not in modules:
        raise ValueError(f"the gate to ablate must be one of {', '.join(modules) or '(none)'}; got {name!r}")
    return key, modules[key].register_forward_hook(lambda module, inputs, gate: torch.zeros_like(gate))
