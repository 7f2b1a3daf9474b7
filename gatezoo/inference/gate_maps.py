"""Compute the gates of a network on one image, and its prediction without one of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..layers.resize import resize_to
from ..segmenters.base import SemanticSegmenter
from ..segmenters.outputs import SegmenterOutput
from ..utils.devices import resolve_device
from ..utils.image_tensors import to_image_tensor
from ..utils.modules import copy_for_inference
from .ablation import ablate_gate
from .image_files import error_context
from .inputs import check_model, to_depth_tensor
from .modes import WholeImage
from .predictor import Predictor


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
    depth_map: Any = None,
    image_max: float | None = None,
) -> GateMaps:
    """Compute prediction and gates of one image, whole and at its own size.

    Args:
        model: a semantic segmentation network with gates; it is not changed.
        x: one image of any kind that :func:`gatezoo.predict` takes.
        ablate: name of a gate, such as "G2", that is set to zero everywhere, in every iteration.
        iterations: of an unrolled network; default: its own number.
        device: that it runs on; default: where the network is.
        depth_map: depth of the image in metres, (H, W), for networks that take it (``gate="given"``).
        image_max: value of full brightness in image files, see :class:`Predictor`.

    Raises:
        ValueError: the network has no gates, or no gate of this name, or ``x`` is not an image.
    """
    check_model(model, "semantic", "use gatezoo.predict_instances")
    # A copy, since a gate is closed below, but not prepared: that would take longer than it saves on one image.
    network = copy_for_inference(model, device and resolve_device(device))
    predictor = Predictor(network, mode=WholeImage(), iterations=iterations, image_max=image_max, shared=True)
    with error_context(x):
        image = to_image_tensor(x, model.in_chans, predictor.image_max)
        given = None if depth_map is None else to_depth_tensor(depth_map)
        outputs = predictor.outputs(image, given)
    gates = outputs.gates[-1] if outputs.gates else {}
    if not gates:
        raise ValueError(
            "gate maps require a network with gates, and at least two iterations if it is unrolled; got no gates"
        )
    maps = {
        f"G{number}": resize_gate(gate[0].float().mean(0), image.shape[-2:], model.backbone.size_divisor).cpu().numpy()
        for number, gate in sorted(gates.items())
    }
    classes = _label_map(outputs)
    if ablate is None:
        return GateMaps(image, classes, maps)
    with ablate_gate(predictor.model, ablate) as name:  # the predictor's own modules
        return GateMaps(image, classes, maps, name, _label_map(predictor.outputs(image, given)))


def resize_gate(gate: Tensor, size: Sequence[int], divisor: int) -> Tensor:
    """Resize a gate of an image to the image's size.

    Args:
        gate: (h, w), which covers the image padded on the right and below to whole multiples of ``divisor``.
        size: (H, W) of the image.
        divisor: ``model.backbone.size_divisor``.
    """
    height, width = size
    padded = (-(-height // divisor) * divisor, -(-width // divisor) * divisor)
    return resize_to(gate[None, None], padded)[0, 0, :height, :width]


def _label_map(outputs: SegmenterOutput) -> np.ndarray:
    return outputs.logits.argmax(1)[0].cpu().numpy()
