"""The recipe of fine-tuning, whose defaults depend on the weights and on the data."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from .recipe import Recipe


@dataclass(frozen=True)
class FinetuneContext:
    """What the defaults of fine-tuning depend on.

    Attributes:
        task: "semantic" or "instance".
        epochs: times that every image is seen.
        weights_recipe: fields of the recipe that the weights were trained with.
        images: number of images to train on. Default: many, to check a recipe before the data are opened.
    """

    task: str = "semantic"
    epochs: float = 20
    weights_recipe: Mapping[str, Any] = field(default_factory=dict)
    images: int = 10**5

    def __post_init__(self) -> None:
        if not 0 < self.epochs < math.inf:
            raise ValueError(f"epochs must be a finite number above 0; got {self.epochs}: 20 is usual")


_Fields = Mapping[str, Any]


@dataclass(frozen=True)
class FinetuneDefault:
    """Default of one field of the recipe.

    Attributes:
        text: that describes it in the help of ``gatezoo finetune``.
        value: function (context, fields determined before) -> the default.
    """

    text: str
    value: Callable[[FinetuneContext, _Fields], Any]


def _of_task(semantic: Any, instance: Any) -> FinetuneDefault:
    return FinetuneDefault(
        f"{semantic}; of instances, {instance}",
        lambda context, fields: instance if context.task == "instance" else semantic,
    )


def _steps(context: FinetuneContext, fields: _Fields) -> int:
    crops = fields["batch_size"] * fields.get("grad_accum_steps", Recipe.grad_accum_steps)
    return math.ceil(context.epochs * context.images / crops)


# In this order: each may depend on those before it. All other fields have the defaults of the recipe.
FINETUNE_DEFAULTS: dict[str, FinetuneDefault] = {
    "opt": _of_task(Recipe.opt, "adamw"),
    "lr": _of_task(Recipe.lr / 2, 1e-4),
    "head_lr_mult": _of_task(Recipe.head_lr_mult, 5.0),
    "crop_size": FinetuneDefault(
        "that of the weights", lambda context, fields: context.weights_recipe.get("crop_size", Recipe.crop_size)
    ),
    "batch_size": FinetuneDefault(
        f"{Recipe.batch_size}, or the number of images if that is less",
        lambda context, fields: min(Recipe.batch_size, context.images),
    ),
    "steps": FinetuneDefault("the number that --epochs gives", _steps),
    "eval_interval": FinetuneDefault("--steps, at the end only", lambda context, fields: fields["steps"]),
    "checkpoint_interval": FinetuneDefault("a tenth of --steps", lambda context, fields: max(1, fields["steps"] // 10)),
}


def finetune_recipe(changes: Mapping[str, Any], context: FinetuneContext) -> Recipe:
    """Return the recipe of a fine-tuning.

    Args:
        changes: fields that replace the defaults.
        context: weights and data.

    Raises:
        ValueError: a field that does not exist, or a value out of range.
    """
    # Other fields are computed from these.
    Recipe.from_dict({key: changes[key] for key in ("steps", "batch_size", "grad_accum_steps") if key in changes})
    fields = dict(changes)
    for name, default in FINETUNE_DEFAULTS.items():
        if name not in fields:
            fields[name] = default.value(context, fields)
    return Recipe.from_dict(fields)
