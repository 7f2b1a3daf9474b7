"""Describe models: parameters, multiply-accumulates, and the facts that ``gatezoo info`` prints."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from .backbones.stages import Stages
from .data.label_format import LabelFormat
from .metrics.names import headline
from .pretrained import of_architecture
from .registry import get_model_spec, get_pretrained_cfg, model_entrypoint
from .segmenters.base import BaseSegmenter
from .segmenters.recurrent import IterativeSegmenter, RecurrentSegmenter
from .utils.autograd import count_weighted_layers
from .utils.images import MIN_SIZE


def on_meta(name: str, **model_kwargs: Any) -> BaseSegmenter:
    """Create a network on the meta device, in evaluation mode: counting it needs neither memory nor time.

    Args:
        name: a registered model.
        model_kwargs: its keywords, where None means what it means to :func:`gatezoo.create_model`.
    """
    with torch.device("meta"):
        return model_entrypoint(name)(**model_kwargs).eval()


def count_parameters(module: nn.Module) -> int:
    """Return the number of parameters."""
    return sum(parameter.numel() for parameter in module.parameters())


@torch.no_grad()
def count_gmacs(model: BaseSegmenter, height: int, width: int, **call: Any) -> float:
    """Return the multiply-accumulates for one image, in 10^9: convolutions and matrix products, as torch counts them.

    An instance segmentation network is counted with as many proposals and instances as it takes at most.

    Args:
        model: a network on the meta device.
        height, width: of the image.
        call: further arguments of its ``raw_outputs``, such as ``iterations``.
    """
    image = torch.empty(1, model.in_chans, height, width, device="meta")
    with FlopCounterMode(display=False) as counter:
        model.raw_outputs(image, **model.max_workload_kwargs, **call)
    return counter.get_total_flops() / 2e9


def effective_depth(model: RecurrentSegmenter, iterations: int | None = None) -> int:
    """Return the number of layers with weights on the longest path from image to logits, those of gates left out.

    With l_i the layers of block i and T iterations, the longest path to its output in pass t of a parallel unroll has
    this number of layers::

        d_t(i) = l_i + max(d_t(i-1), d_{t-1}(s) for each s whose output the gate of block i reads),  d_t(0) = 0

    Where there is no gate, as in pass 1, the maximum is of d_t(i-1) alone. Which outputs a gate reads is found from
    its gradient. If each gate reads the output of its own block, this is sum l_i + (T - 1) * the largest gated
    l_i; if one reads the prediction, every pass adds all blocks from the shallowest such block on. A sequential unroll
    has sum l_i + (T - 1) * sum of the gated l_i, RIGNet's l_f + l_r * ui (Sec. 3.3.1).

    For a parallel unroll the paper counts otherwise, l_f + l_rj + l_rk * ui with l_rk the layers "for the last feedback
    block" alone (Sec. 3.3.2): no longest path, unless that block has most layers. The last block is often one layer.

    Args:
        model: an unrolled network, on any device.
        iterations: by default the network's own number.
    """
    iterations = model.resolve_iterations(iterations)
    layers, reads = _block_depths(model)
    if model.unroll == "sequential":
        return sum(count * (iterations if block in reads else 1) for block, count in layers.items())
    before: dict[int, int] = {}
    for _ in range(iterations):
        depths = {0: 0}
        for block, count in layers.items():
            gate = [before[source] for source in reads.get(block, ())] if before else []
            depths[block] = count + max([depths[block - 1], *gate])
        before = depths
    return before[len(layers)]


def _block_depths(model: RecurrentSegmenter) -> tuple[dict[int, int], dict[int, list[int]]]:
    """Return the layers with weights on the longest path through each block, and the blocks that each gate reads."""
    training, chain, layers = model.training, model.chain, {}
    model.eval()
    side = 2 * MIN_SIZE
    side += -side % model.backbone.size_divisor
    maps = [next(model.parameters()).new_zeros(1, model.in_chans, side, side)]
    with torch.enable_grad():
        for block in range(1, len(chain) + 1):
            x = chain.run(block, maps[-1].detach().requires_grad_())
            layers[block] = count_weighted_layers(x)
            maps.append(x)
        maps = [x.detach().requires_grad_() for x in maps]
        reads = {}
        for block, gate in model.feedback(maps).items():
            gradients = torch.autograd.grad(gate.sum(), maps, retain_graph=True, allow_unused=True)
            reads[block] = [source for source, gradient in enumerate(gradients) if gradient is not None]
    model.train(training)
    return layers, reads


def describe(name: str) -> dict[str, str]:
    """Return the facts that ``gatezoo info`` prints, by title.

    Raises:
        ValueError: an unknown name or tag.
    """
    spec = get_model_spec(name)
    cfg = get_pretrained_cfg(name)
    model = on_meta(name, **({"num_classes": cfg.num_classes} if cfg else {}))
    facts = {
        "name": spec.name,
        "task": spec.task,
        "paper": spec.paper,
        "parameters": f"{count_parameters(model) / 1e6:.3f} M with {model.num_classes} classes",
        "backbone": f"{model.backbone.name}, output stride {model.backbone.output_stride}",
    }
    if isinstance(model, RecurrentSegmenter):
        assert isinstance(model.backbone, Stages)
        first, last = model.feedback.shallowest, max(model.feedback.blocks)
        facts["gates"] = (
            f"{count_parameters(model.feedback) / 1e6:.3f} M, blocks {first} to {last} of {len(model.backbone) + 1}"
        )
        depths = ", ".join(f"{effective_depth(model, count)} (T = {count})" for count in (1, 2, 3))
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
    defaults = spec.merge({})
    facts["keywords"] = ", ".join(
        f"{key}={defaults[key]!r}" if key in defaults else key for key in spec.parameter_names()
    )
    for weights in of_architecture(spec.name):
        parts = [weights.train_data, headline(weights.metrics), weights.license]
        if weights.label_format:
            labels = LabelFormat.from_dict(weights.label_format).describe(weights.class_names, weights.ignore_index)
            parts.append(f"labels: {labels}")
        facts[f"weights .{weights.tag}"] = "; ".join(parts)
    return facts
