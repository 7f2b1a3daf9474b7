"""Check the fields of a recipe, alone and together, without torch."""

from __future__ import annotations

import dataclasses
import math
import numbers
from typing import TYPE_CHECKING

from ..metrics.names import METRICS
from ..utils.choices import check_choice, suggest
from ..utils.keyword_types import check_keyword

if TYPE_CHECKING:
    from .recipe import Recipe

# Parts that :func:`gatezoo.training.frozen_layers.freeze_layers` freezes.
FROZEN_LAYERS = ("norm_statistics", "norm_affine", "stem", "stage1")
# Names of gatezoo.losses, and those that take no class weights.
LOSS_NAMES = ("cross_entropy", "ohem", "focal", "dice", "lovasz")
UNWEIGHTED_LOSSES = ("dice", "lovasz")
# What ``best_metric`` may be for some task: "loss" for val_loss; counts and lists are no scores.
_NO_SCORES = ("val_loss", "iou", "miou_cityscapes", "corrupted_miou", "merged_miou")
SCORES = ("loss", *(name for name, info in METRICS.items() if info.unit != "count" and name not in _NO_SCORES))
_CHOICES = {
    "sched": ("poly", "cosine", "wsd", "step"),
    "amp_dtype": ("none", "bf16", "fp16"),
    "class_weights": ("none", "inverse", "sqrt", "median"),
}
# The same for fields that may be left empty.
_OPTIONAL_CHOICES = {"init": ("linear-probe",), "best_metric": SCORES}

_AT_LEAST_ONE = ("steps", "batch_size", "grad_accum_steps", "crop_size", "eval_interval", "log_interval", "keep_every")
MAX_COUNT = 10**9
# Least and largest value of the other numbers.
_RANGES: dict[str, tuple[float, float]] = {
    **dict.fromkeys(("lr", "head_lr_mult", "weight_decay", "power", "warmup", "linear_probe_steps"), (0, math.inf)),
    **dict.fromkeys(("color_jitter", "checkpoint_interval", "patience", "short_side"), (0, math.inf)),
    **dict.fromkeys(("iteration_loss_weight", "aux_loss_weight", "seg_loss_weight"), (0, math.inf)),
    **dict.fromkeys(("depth_loss_weight", "scale_loss_weight"), (0, math.inf)),
    **dict.fromkeys(("hflip", "cat_max_ratio", "decay_share", "late_loss_start", "layer_decay"), (0, 1)),
    "repeat_thresh": (0, 1),
    "rotate": (0, 180),
    "seed": (0, 2**63 - 1),
}
_BELOW_ONE = ("momentum", "ema_decay")
_ABOVE_ZERO = ("decay_share", "layer_decay")


def check_recipe(recipe: Recipe) -> None:
    """Raise ValueError for a field of another type or out of range, and for fields that contradict each other.

    Names of optimizers are timm's: :func:`gatezoo.training.optimizers.check_optimizer` checks them.
    """
    _check_types(recipe)
    _check_ranges(recipe)
    for name, choices in _CHOICES.items():
        check_choice(name, getattr(recipe, name), choices)
    for name, choices in _OPTIONAL_CHOICES.items():
        if value := getattr(recipe, name):
            check_choice(name, value, choices)
    for name in ("loss", "late_loss"):
        _check_loss(recipe, name)
    recipe.crop_sizes()
    _check_whole_images(recipe)
    _check_phases(recipe)
    _check_trained_parts(recipe)


def _check_types(recipe: Recipe) -> None:
    kinds = {int: (numbers.Integral, "a whole number"), float: (numbers.Real, "a number"), str: (str, "a text")}
    for field in dataclasses.fields(recipe):
        value = getattr(recipe, field.name)
        if isinstance(field.default, bool):
            check_keyword(field.name, value, "bool")
            continue
        kind, what = kinds.get(type(field.default), (object, ""))
        if not isinstance(value, kind) or (isinstance(value, bool) and what):
            raise ValueError(f"{field.name} must be {what}; got {value!r}")
    check_keyword("scale_range", recipe.scale_range, "tuple[float, float]")
    for name in ("mean", "std"):
        check_keyword(name, getattr(recipe, name), "tuple[float, ...] | None")
    check_keyword("frozen_layers", recipe.frozen_layers, "tuple[str, ...]")
    for name in recipe.frozen_layers:
        check_choice("frozen_layers", name, FROZEN_LAYERS)


def _check_ranges(recipe: Recipe) -> None:
    for name in _AT_LEAST_ONE:
        if getattr(recipe, name) < 1:
            raise ValueError(f"{name} must be at least 1; got {getattr(recipe, name)}")
        if getattr(recipe, name) > MAX_COUNT:
            raise ValueError(f"{name} must be at most {MAX_COUNT}; got {getattr(recipe, name)}")
    for name, (low, high) in _RANGES.items():
        value = getattr(recipe, name)
        if not (low <= value <= high and value < math.inf):
            limits = f"{low} or more" if high == math.inf else f"in {low} .. {high}"
            raise ValueError(f"{name} must be a finite number, {limits}; got {value}")
    for name in _BELOW_ONE:
        if not 0 <= getattr(recipe, name) < 1:
            raise ValueError(f"{name} must be in [0, 1); got {getattr(recipe, name)}")
    for name in _ABOVE_ZERO:
        if not getattr(recipe, name) > 0:
            raise ValueError(f"{name} must be above 0; got {getattr(recipe, name)}")
    if not recipe.clip_grad >= 0:
        raise ValueError(f"clip_grad must be 0 or more; got {recipe.clip_grad}")
    low, high = recipe.scale_range
    if not 0 < low <= high < math.inf:
        raise ValueError(f"scale_range must be two finite numbers above 0, the smaller first; got {low} {high}")
    if recipe.mean and not 0 <= min(recipe.mean) <= max(recipe.mean) <= 1:
        raise ValueError(f"mean must be numbers in 0 .. 1; got {' '.join(map(str, recipe.mean))}")
    if recipe.std and min(recipe.std) <= 0:
        raise ValueError(f"std must be numbers above 0; got {' '.join(map(str, recipe.std))}")
    if not (recipe.seg_loss_weight or recipe.depth_loss_weight or recipe.scale_loss_weight):
        raise ValueError(
            "a training must have a loss; seg_loss_weight, depth_loss_weight and scale_loss_weight are all 0: "
            "raise one of them"
        )


def _check_loss(recipe: Recipe, field: str) -> None:
    names = getattr(recipe, field).split("+")
    if names == [""] and field == "late_loss":
        return
    for name in names:
        if name not in LOSS_NAMES:
            raise ValueError(
                f"{field} must be one of {', '.join(LOSS_NAMES)}, or several joined by +; got {name!r}"
                f"{suggest(name, LOSS_NAMES)}"
            )
    if len(names) == 1 and names[0] in UNWEIGHTED_LOSSES and recipe.class_weights != "none":
        raise ValueError(
            f"class_weights must be none for the {names[0]} loss alone; got {recipe.class_weights}: "
            "pass class_weights='none'"
        )


def _check_whole_images(recipe: Recipe) -> None:
    """Refuse settings of crops that have no effect because images are not cropped."""
    for name, off in (("crop_schedule", ""), ("cat_max_ratio", 1)):
        if recipe.short_side and getattr(recipe, name) != off:
            raise ValueError(
                f"{name} must be left out if short_side is set, since images are not cropped; "
                f"got {getattr(recipe, name)!r}: leave one of them out"
            )


def _check_phases(recipe: Recipe) -> None:
    """Refuse phases of the training that would never begin or end."""
    if recipe.probe_steps >= recipe.steps:
        raise ValueError(
            f"linear_probe_steps must be less than steps, {recipe.steps}; got {recipe.probe_steps}: "
            "pass freeze_backbone to train new layers only"
        )
    milestones = recipe.milestones()
    if recipe.sched == "step" and not milestones:
        raise ValueError("decay_steps must be given for sched='step'; got none: pass such as 60000,80000")
    if milestones and recipe.sched != "step":
        raise ValueError(f"decay_steps are read with sched='step' alone; got sched={recipe.sched!r}: pass sched='step'")
    if recipe.late_loss and round(recipe.late_loss_start * recipe.steps) >= recipe.steps:
        raise ValueError(
            f"late_loss_start must leave steps for late_loss; got {recipe.late_loss_start} of {recipe.steps} steps: "
            "lower it, or leave late_loss out"
        )
    if recipe.patience and (recipe.patience + 1) * recipe.eval_interval >= recipe.steps:
        raise ValueError(
            f"patience must end before the last step, {recipe.steps}; got {recipe.patience} evaluations after the "
            f"first, one every {recipe.eval_interval} steps: lower patience or eval_interval"
        )


def _check_trained_parts(recipe: Recipe) -> None:
    """Refuse settings of the backbone that have no effect because it is not trained."""
    in_backbone = recipe.trainable_prefix.startswith("backbone")
    if recipe.probe_steps and in_backbone:
        raise ValueError(
            f"trainable_prefix must include new layers if linear_probe_steps is set; got {recipe.trainable_prefix!r}"
        )
    if not recipe.freeze_backbone:
        return
    if in_backbone:
        raise ValueError(
            f"trainable_prefix must include new layers if freeze_backbone is set; got {recipe.trainable_prefix!r}"
        )
    for name, value in (("linear_probe_steps", recipe.probe_steps), ("layer_decay", recipe.layer_decay != 1)):
        if value:
            raise ValueError(
                f"{name} must be left out if freeze_backbone is set, since the backbone is never trained; "
                f"got {getattr(recipe, name) or recipe.init}: leave one of them out"
            )
