"""Values of what a paper does not say: off, so that no default of this package is taken for the paper's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# Fields of a recipe whose default is a choice of this package, with the value that changes nothing: images are cropped
# at their own scale, and trained on by plain SGD at one rate. All other defaults are of that kind.
NEUTRAL: dict[str, Any] = {
    "scale_range": (1.0, 1.0),
    "hflip": 0.0,
    "color_jitter": 0.0,
    "head_lr_mult": 1.0,
    "momentum": 0.0,
    "weight_decay": 0.0,
    "power": 0.0,  # of the schedule poly: the rate is constant
    "clip_grad": 0.0,
    "aux_loss_weight": 0.0,
    "class_weights": "none",
    "amp_dtype": "none",
}
# Fields without a neutral value, which a file must give; short_side takes the place of crop_size.
REQUIRED = ("steps", "batch_size", "lr", "crop_size")
# Evaluations in a training.
EVALUATIONS = 20


def neutral_recipe(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a recipe of a paper, with neutral values for those that are not given.

    It is evaluated twenty times, after equally many steps, unless ``eval_interval`` is given.

    Args:
        values: fields that are given.

    Raises:
        ValueError: a field is missing that has no neutral value.
    """
    for name in REQUIRED:
        if name not in values and not (name == "crop_size" and values.get("short_side")):
            raise ValueError(f"the recipe of a paper must have {', '.join(REQUIRED)}; {name} is missing: add it")
    return {**NEUTRAL, "eval_interval": max(1, values["steps"] // EVALUATIONS), **values}
