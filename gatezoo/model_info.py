"""Facts about models: for ``gatezoo info``, the benchmark and the table in the README."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from .metrics.names import headline
from .registry import get_model_spec, get_pretrained_cfg, list_models, model_entrypoint
from .segmenters.base import BaseSegmenter
from .segmenters.recurrent import IterativeSegmenter, RecurrentSegmenter


def on_meta(name: str, **keywords: Any) -> BaseSegmenter:
    """The network without its numbers, in evaluation mode: counting it costs neither memory nor time."""
    with torch.device("meta"):
        return model_entrypoint(name)(**keywords).eval()


def count_parameters(module: nn.Module) -> int:
    """Number of parameters."""
    return sum(parameter.numel() for parameter in module.parameters())


@torch.no_grad()
def count_gmacs(model: BaseSegmenter, height: int, width: int, **call: Any) -> float:
    """Multiply-accumulates of one image, in 10^9: convolutions and matrix products, as torch counts them.

    Of a network of objects with as many proposals and objects as it takes at most.
    """
    image = torch.empty(1, model.in_chans, height, width, device="meta")
    with FlopCounterMode(display=False) as counter:
        model.raw_outputs(image, **model.max_workload_kwargs, **call)
    return counter.get_total_flops() / 2e9


def describe(name: str) -> dict[str, str]:
    """What ``gatezoo info`` prints."""
    row = get_model_spec(name)
    cfg = get_pretrained_cfg(name)
    model = on_meta(name, **({"num_classes": cfg.num_classes} if cfg else {}))
    facts = {
        "name": row.name,
        "task": row.task,
        "paper": (row.builder.__globals__["__doc__"] or "").split("\n")[0],
        "parameters": f"{count_parameters(model) / 1e6:.3f} M with {model.num_classes} classes",
        "backbone": f"{model.backbone.name}, output stride {model.backbone.output_stride}",
    }
    if isinstance(model, RecurrentSegmenter):
        first, last = model.feedback.shallowest, max(model.feedback.blocks)
        facts["gates"] = (
            f"{count_parameters(model.feedback) / 1e6:.3f} M, blocks {first} to {last} of {len(model.backbone) + 1}"
        )
        depths = ", ".join(f"{model.effective_depth(count)} (T = {count})" for count in (1, 2, 3))
        facts["effective depth"] = f"{depths} layers with weights"
    if isinstance(model, IterativeSegmenter):
        facts["iterations"] = f"{model.iterations}, {'parallel' if model.supports_anytime else 'sequential'}"
        for count in (1, 2, 3):
            facts[f"GMAC, T = {count}"] = f"{count_gmacs(model, 512, 512, iterations=count):.1f} at 512x512"
    else:
        if gates := model.gate_modules():
            count = sum(count_parameters(gate) for gate in gates.values())
            facts["gates"] = f"{count / 1e6:.3f} M, of levels {min(gates)} to {max(gates)}"
        facts["GMAC"] = f"{count_gmacs(model, 512, 512):.1f} at 512x512"
    defaults = row.merge({})
    facts["keywords"] = ", ".join(
        f"{key}={defaults[key]!r}" if key in defaults else key for key in row.parameter_names()
    )
    for tagged in list_models(row.name, pretrained=True):
        weights = get_pretrained_cfg(tagged)
        facts[f"weights .{weights.tag}"] = f"{weights.train_data}; {headline(weights.metrics)}; {weights.license}"
    return facts
