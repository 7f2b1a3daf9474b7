"""The record of pretrained weights, its rules and the manifest. No network access and no torch."""

from .cfg import PretrainedCfg
from .entries import BUNDLED, MANIFEST, PACKAGE, manifest, manifest_path, of_architecture, read_manifest, replace_entry
from .upgrades import FORMAT_VERSION, RENAMED_RECIPE_FIELDS, upgrade_metadata, upgrade_model_kwargs, upgrade_recipe

__all__ = [
    "BUNDLED",
    "FORMAT_VERSION",
    "MANIFEST",
    "PACKAGE",
    "RENAMED_RECIPE_FIELDS",
    "PretrainedCfg",
    "manifest",
    "manifest_path",
    "of_architecture",
    "read_manifest",
    "replace_entry",
    "upgrade_metadata",
    "upgrade_model_kwargs",
    "upgrade_recipe",
]
