"""Optimizers over a network's parameters, from timm's factory, and the rates over the steps."""

from __future__ import annotations

import math

from timm.optim import create_optimizer_v2, list_optimizers
from torch import nn
from torch.optim import Optimizer

from ..recipes.recipe import Recipe
from ..segmenters.base import BaseSegmenter


def create_optimizer(model: BaseSegmenter, recipe: Recipe) -> Optimizer:
    """timm's optimizer ``recipe.opt``: the backbone at ``lr``, what is new faster; no decay for biases and norms.

    Parameters that ``recipe.trainable_prefix`` leaves out stop asking for gradients.
    """
    if recipe.opt not in list_optimizers():
        raise ValueError(f"opt must be an optimizer of timm's: {', '.join(list_optimizers())}; got {recipe.opt!r}")
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(parameter.requires_grad and name.startswith(recipe.trainable_prefix))
        if parameter.requires_grad:
            groups.setdefault((name.startswith("backbone."), parameter.ndim > 1), []).append(parameter)
    if not groups:
        raise ValueError(
            f"trainable_prefix must begin the name of a parameter of the network; got {recipe.trainable_prefix!r}"
        )
    parameters = [
        {
            "params": members,
            "lr": recipe.lr * (1 if old else recipe.head_lr_mult),
            "weight_decay": recipe.weight_decay if decays else 0.0,
        }
        for (old, decays), members in groups.items()
    ]
    return create_optimizer_v2(parameters, recipe.opt, lr=recipe.lr, momentum=recipe.momentum)


def lr_factor(step: int, recipe: Recipe) -> float:
    """Factor of the rates at a step, 0 .. steps - 1."""
    rise = min(1.0, (step + 1) / recipe.warmup) if recipe.warmup else 1.0
    done = step / recipe.steps
    return rise * ((1 - done) ** recipe.power if recipe.sched == "poly" else (1 + math.cos(math.pi * done)) / 2)
