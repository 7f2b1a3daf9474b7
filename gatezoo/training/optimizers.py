"""Create optimizers with timm's factory, and compute the learning rate of each step."""

from __future__ import annotations

import math

from timm.optim import create_optimizer_v2, list_optimizers
from torch import nn
from torch.optim import Optimizer

from ..recipes.recipe import Recipe
from ..segmenters.base import BaseSegmenter
from ..utils.choices import check_choice


def create_optimizer(model: BaseSegmenter, recipe: Recipe) -> Optimizer:
    """Create timm's optimizer ``recipe.opt`` over the parameters of a network.

    The backbone learns at ``lr``, new layers at ``lr * head_lr_mult``; biases and norms have no weight decay.
    Parameters whose names do not start with ``recipe.trainable_prefix`` no longer require gradients.

    Raises:
        ValueError: an unknown optimizer, or a prefix of no parameter.
    """
    check_choice("opt", recipe.opt, map(str, list_optimizers()))
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(parameter.requires_grad and name.startswith(recipe.trainable_prefix))
        if parameter.requires_grad:
            groups.setdefault((name.startswith("backbone."), parameter.ndim > 1), []).append(parameter)
    if not groups:
        raise ValueError(
            f"trainable_prefix must begin the name of a parameter of the network; got {recipe.trainable_prefix!r}: "
            f"pass a prefix such as {next(name for name, _ in model.named_parameters())!r}"
        )
    parameters = [
        {
            "params": members,
            "lr": recipe.lr * (1 if in_backbone else recipe.head_lr_mult),
            "weight_decay": recipe.weight_decay if has_decay else 0.0,
        }
        for (in_backbone, has_decay), members in groups.items()
    ]
    return create_optimizer_v2(parameters, recipe.opt, lr=recipe.lr, momentum=recipe.momentum)


def lr_factor(step: int, recipe: Recipe) -> float:
    """Return the factor of the learning rates at a step, 0 .. steps - 1: warmup times schedule.

    It is 1 during the linear probe, after which both start.
    """
    if step < recipe.linear_probe_steps:
        return 1.0
    since = step - recipe.linear_probe_steps
    warmup = min(1.0, (since + 1) / recipe.warmup) if recipe.warmup else 1.0
    progress = since / (recipe.steps - recipe.linear_probe_steps)
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
