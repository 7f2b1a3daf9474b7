"""Versions of the stored records, and the present names of what older ones hold."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..utils.text import shorten
from .rules import refuse

# 1: configs without a version. 2: the same names of tensors, with a version. 3: the same names of tensors; the keys of
# metadata, keywords and recipes changed, as below.
FORMAT_VERSION = 3
RENAMED_METADATA = {"model": "architecture", "record": "history"}
RENAMED_MODEL_KWARGS = {"dilate_entries": "dilate_stage_entries"}
RENAMED_RECIPE_FIELDS = {
    "crop": "crop_size",
    "scale": "scale_range",
    "new_lr_factor": "head_lr_mult",
    "pass_loss": "iteration_loss_weight",
    "aux_loss": "aux_loss_weight",
    "label_loss": "seg_loss_weight",
    "depth_loss": "depth_loss_weight",
    "scale_loss": "scale_loss_weight",
    "train_only": "trainable_prefix",
    "amp": "amp_dtype",
    "eval_every": "eval_interval",
    "recovery_interval": "checkpoint_interval",
}


def check_version(version: object) -> int:
    """Return the version if it can be read.

    Raises:
        ValueError: no version, or a newer one.
    """
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise ValueError(
            f"format_version must be a whole number, at least 1; got {shorten(version)}: save the model again"
        )
    if version > FORMAT_VERSION:
        raise ValueError(
            f"format_version must be at most {FORMAT_VERSION}; got {version}: made by a newer gatezoo, upgrade"
        )
    return version


def upgrade_recipe(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """Return a stored recipe of any format version under the present names of its fields."""
    upgraded = _rename(recipe, RENAMED_RECIPE_FIELDS)
    # The first version had a switch for bfloat16.
    if isinstance(amp := upgraded.get("amp_dtype"), bool):
        upgraded["amp_dtype"] = "bf16" if amp else "none"
    return upgraded


def upgrade_model_kwargs(model_kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Return stored keywords of a builder, of any format version, under their present names."""
    return _rename(model_kwargs, RENAMED_MODEL_KWARGS)


def upgrade_metadata(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Return checkpoint metadata of any format version under its present keys."""
    upgraded = _rename(metadata, RENAMED_METADATA)
    for key, upgrade in (("recipe", upgrade_recipe), ("model_kwargs", upgrade_model_kwargs)):
        if isinstance(upgraded.get(key), Mapping):
            upgraded[key] = upgrade(upgraded[key])
    return upgraded


def _rename(content: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    if both := [old for old, new in names.items() if old in content and new in content]:
        refuse(names[both[0]], "given under one name", both[0])
    return {names.get(key, key): value for key, value in content.items()}
