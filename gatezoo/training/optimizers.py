"""Create optimizers with timm's factory, and compute the learning rate of each step."""

from __future__ import annotations

import math

from timm.optim import create_optimizer_v2, list_optimizers
from torch import nn
from torch.optim import Optimizer

from ..backbones.layer_groups import layers_of
from ..recipes.recipe import Recipe
from ..segmenters.base import BaseSegmenter
from ..utils.choices import check_choice


def check_optimizer(name: str) -> None:
    """Raise ValueError for a name that is no optimizer of timm."""
    check_choice("opt", name, map(str, list_optimizers()))


def create_optimizer(model: BaseSegmenter, recipe: Recipe) -> Optimizer:
    """Create timm's optimizer ``recipe.opt`` over the parameters of a network.

    New layers learn at ``lr * head_lr_mult``, the backbone at ``lr``. With layer decay d, layer l of the backbone's L
    learns at ``lr * d^(L - l)``, l = 0 .. L - 1, the stem first: new layers count as layer L. Layers are timm's.
    Biases and norms have no weight decay. Parameters whose names do not start with ``recipe.trainable_prefix``, and
    those of a frozen backbone, no longer require gradients.

    Raises:
        ValueError: an unknown optimizer, or a prefix of no parameter.
    """
    check_optimizer(recipe.opt)
    layers: dict[str, int] = {}
    if recipe.layer_decay != 1:
        layers = layers_of(model.backbone)
    count = 1 + max(layers.values(), default=0)
    groups: dict[tuple[bool, float, bool], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        in_backbone = name.startswith("backbone.")
        trained = name.startswith(recipe.trainable_prefix) and not (in_backbone and recipe.freeze_backbone)
        parameter.requires_grad_(parameter.requires_grad and trained)
        if parameter.requires_grad:
            scale = recipe.head_lr_mult
            if in_backbone:
                scale = recipe.layer_decay ** (count - layers[name.removeprefix("backbone.")]) if layers else 1.0
            groups.setdefault((in_backbone, scale, parameter.ndim > 1), []).append(parameter)
    if not groups:
        raise ValueError(
            f"trainable_prefix must begin the name of a parameter of the network; got {recipe.trainable_prefix!r}: "
            f"pass a prefix such as {next(name for name, _ in model.named_parameters())!r}"
        )
    parameters = [
        {
            "name": "backbone" if in_backbone else "new layers",
            "params": members,
            "lr": recipe.lr * scale,
            "weight_decay": recipe.weight_decay if has_decay else 0.0,
        }
        for (in_backbone, scale, has_decay), members in groups.items()
    ]
    return create_optimizer_v2(parameters, recipe.opt, lr=recipe.lr, momentum=recipe.momentum)


def distinct_rates(optimizer: Optimizer) -> list[tuple[str, float]]:
    """Return the name and the learning rate of the groups of parameters, each pair once, the first group's first."""
    return list(dict.fromkeys((group["name"], group["lr"]) for group in optimizer.param_groups))


def lr_factor(step: int, recipe: Recipe) -> float:
    """Return the factor of the learning rates at a step, 0 .. steps - 1: warmup times schedule.

    It is 1 during the linear probe, after which both start.
    """
    if step < recipe.probe_steps:
        return 1.0
    since = step - recipe.probe_steps
    warmup = min(1.0, (since + 1) / recipe.warmup) if recipe.warmup else 1.0
    progress = since / (recipe.steps - recipe.probe_steps)
    match recipe.sched:
        case "poly":
            factor = (1 - progress) ** recipe.power
        case "cosine":
            factor = (1 + math.cos(math.pi * progress)) / 2
        case "wsd":
            factor = min(1.0, (1 - progress) / recipe.decay_share)
        case _:  # step
            factor = 0.1 ** sum(step >= milestone for milestone in recipe.milestones())
    return warmup * factor
