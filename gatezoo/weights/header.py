"""Check the metadata in the header of a checkpoint, which is trusted no more than a ``config.json``."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from ..registry import ModelSpec
from ..utils.text import shorten
from .config import CFG_VALIDATORS, check_cfg_values, check_model_args, check_plain_json
from .conversions import check_version

# Without these a network cannot be built, or its images cannot be normalized.
_REQUIRED = ("num_classes", "mean", "std")
# Fields beside those of the config that a network is built from.
_CHECKED = ("architecture", "model_kwargs")


def check_metadata(metadata: Mapping[str, Any]) -> None:
    """Check the type and the bounds of every fact that a network is built from; the history is not looked at.

    Args:
        metadata: under its present keys.

    Raises:
        ValueError: a fact that is not valid.
    """
    for key, kind in (("architecture", str), ("model_kwargs", dict)):
        if not isinstance(metadata.get(key, kind()), kind):
            raise ValueError(f"{key} must be of type {kind.__name__}; got {shorten(metadata[key])}")
    check_version(metadata.get("format_version", 1))
    check_cfg_values(metadata)
    check_plain_json({key: value for key, value in metadata.items() if key in _CHECKED or key in CFG_VALIDATORS})


def saved_kwargs(path: str | os.PathLike, spec: ModelSpec, metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Return the keywords of the builder from the metadata of a checkpoint.

    Args:
        path: of the checkpoint, for the message.
        spec: of the model to build.
        metadata: that :func:`check_metadata` accepts; {} for a file of another program.

    Raises:
        ValueError: missing facts, or keywords that the model does not take or a file may not give.
    """
    kwargs = metadata.get("model_kwargs", {})
    try:
        if "architecture" in metadata and (missing := [key for key in _REQUIRED if key not in metadata]):
            raise ValueError(f"it must have {', '.join(missing)}")
        check_model_args(spec, kwargs)
    except ValueError as error:
        raise ValueError(f"the header of {path} must describe a {spec.name}; it does not: {error}") from None
    return kwargs
