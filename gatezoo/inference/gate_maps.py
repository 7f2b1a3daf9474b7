"""The gates of a network on one image, and what becomes of the image when one of them is closed."""

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
    """What a network makes of a image.

    Attributes:
        image: (C, H, W), values in 0 .. 255.
        classes: the class of every pixel, (H, W).
        gates: each gate by its name, G1, G2, ...: (H, W), averaged over its channels and resized to the image. Of an
            unrolled network those of the last pass.
        closed: name of the gate that was closed; None for none.
        closed_classes: the class of every pixel without that gate.
    """

    image: Tensor
    classes: np.ndarray
    gates: dict[str, np.ndarray] = field(default_factory=dict)
    closed: str | None = None
    closed_classes: np.ndarray | None = None


@torch.inference_mode()
def compute_gate_maps(
    model: SemanticSegmenter,
    x: Any,
    ablate: str | None = None,
    iterations: int | None = None,
    device: str | torch.device | None = None,
) -> GateMaps:
    """Prediction and gates of one image, whole and at its own size.

    Args:
        x: one image of any kind that :func:`gatezoo.predict` takes.
        ablate: name of a gate, "G2", to set to zero everywhere, in every pass.
        iterations: passes of an unrolled network; default: its own.

    Raises:
        ValueError: a network without gates, a gate that it does not have, and what :func:`gatezoo.predict` refuses.
    """
    with error_context(x):
        image = to_image_tensor(x, model.in_chans)
        batch = to_batch(model, image, device)
        outputs = outputs_of(model, batch, iterations)
    gates = outputs.gates[-1] if outputs.gates else {}
    if not gates:
        raise ValueError("gates must be of a network that has some, with two passes at least if it is unrolled")
    size, divisor = image.shape[-2:], model.backbone.size_divisor
    padded = tuple(-(-side // divisor) * divisor for side in size)
    shown = {
        f"G{number}": resize_to(gate.float().mean(1, keepdim=True), padded)[0, 0, : size[0], : size[1]].cpu().numpy()
        for number, gate in sorted(gates.items())
    }
    found = GateMaps(image, _classes(outputs), shown)
    if ablate is None:
        return found
    with ablate_gate(model, ablate) as name:
        return GateMaps(image, found.classes, shown, name, _classes(outputs_of(model, batch, iterations)))


@contextlib.contextmanager
def ablate_gate(model: SemanticSegmenter, name: str) -> Iterator[str]:
    """Context in which a gate is zero everywhere; gives its name.

    Raises:
        ValueError: a gate that the network does not have.
    """
    modules = {f"G{number}": module for number, module in sorted(model.gate_modules().items())}
    key = name.upper() if name[:1] in ("G", "g") else f"G{name}"
    if key not in modules:
        raise ValueError(f"a gate to close must be one of {', '.join(modules) or '(none)'}; got {name!r}")
    handle = modules[key].register_forward_hook(lambda module, inputs, gate: torch.zeros_like(gate))
    try:
        yield key
    finally:
        handle.remove()


def _classes(outputs: SegmenterOutput) -> np.ndarray:
    return outputs.logits.argmax(1)[0].cpu().numpy()
