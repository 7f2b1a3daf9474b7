"""Compute the gates of a network on one image, and its prediction without one of them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..layers.resize import resize_to
from ..segmenters.base import SemanticSegmenter
from ..segmenters.outputs import SegmenterOutput
from .inputs import error_context, to_batch, to_image_tensor
from .passes import outputs_of


@dataclass(frozen=True)
class GateMaps:
    """Prediction and gates of one image.

    Attributes:
        image: (C, H, W), values in 0 .. 255.
        classes: label map, (H, W).
        gates: each gate by its name, G1, G2, ...: (H, W), averaged over its channels and resized to the image. For an
            unrolled network, the gates of the last iteration.
        ablated: name of the gate that was set to zero; None for none.
        ablated_classes: label map without that gate, (H, W); None for none.
    """

    image: Tensor
    classes: np.ndarray
    gates: dict[str, np.ndarray] = field(default_factory=dict)
    ablated: str | None = None
    ablated_classes: np.ndarray | None = None


@torch.inference_mode()
def compute_gate_maps(
    model: SemanticSegmenter,
    x: Any,
    ablate: str | None = None,
    iterations: int | None = None,
    device: str | torch.device | None = None,
) -> GateMaps:
    """Compute prediction and gates of one image, whole and at its own size.

    Args:
        model: a semantic segmentation network with gates. It is put into evaluation mode.
        x: one image of any kind that :func:`gatezoo.predict` takes.
        ablate: name of a gate, such as "G2", that is set to zero everywhere, in every iteration.
        iterations: of an unrolled network; default: its own number.
        device: default: where the network is.

    Raises:
        ValueError: the network has no gates, or no gate of this name, or ``x`` is not an image.
    """
    with error_context(x):
        image = to_image_tensor(x, model.in_chans)
        batch = to_batch(model, image, device)
        outputs = outputs_of(model, batch, iterations)
    gates = outputs.gates[-1] if outputs.gates else {}
    if not gates:
        raise ValueError(
            "gate maps require a network with gates, and at least two iterations if it is unrolled; got no gates"
        )
    (height, width), divisor = image.shape[-2:], model.backbone.size_divisor
    padded = (-(-height // divisor) * divisor, -(-width // divisor) * divisor)
    maps = {
        f"G{number}": resize_to(gate.float().mean(1, keepdim=True), padded)[0, 0, :height, :width].cpu().numpy()
        for number, gate in sorted(gates.items())
    }
    classes = _label_map(outputs)
    if ablate is None:
        return GateMaps(image, classes, maps)
    with ablate_gate(model, ablate) as name:
        return GateMaps(image, classes, maps, name, _label_map(outputs_of(model, batch, iterations)))


@contextlib.contextmanager
def ablate_gate(model: SemanticSegmenter, name: str) -> Iterator[str]:
    """Set a gate to zero everywhere within the context, which yields the gate's name, such as "G2".

    Args:
        model: a network with gates.
        name: of the gate: "G2", "g2" or "2".

    Raises:
        ValueError: the network has no gate of this name.
    """
    modules = {f"G{number}": module for number, module in sorted(model.gate_modules().items())}
    key = name.upper() if name[:1] in ("G", "g") else f"G{name}"
    if key not in modules:
        raise ValueError(f"the gate to ablate must be one of {', '.join(modules) or '(none)'}; got {name!r}")
    handle = modules[key].register_forward_hook(lambda module, inputs, gate: torch.zeros_like(gate))
    try:
        yield key
    finally:
        handle.remove()


def _label_map(outputs: SegmenterOutput) -> np.ndarray:
    return outputs.logits.argmax(1)[0].cpu().numpy()
