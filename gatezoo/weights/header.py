"""Write and check the metadata in the header of a checkpoint, which is trusted no more than a ``config.json``."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from ..pretrained import FORMAT_VERSION, PretrainedCfg
from ..registry import ModelSpec, get_model_spec
from ..utils.environment import versions
from .config import check_model_args


def make_metadata(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return the metadata of a checkpoint of this version.

    Args:
        facts: fields of :class:`PretrainedCfg` with ``model_kwargs``, and anything else that the header is to hold.
            Without ``architecture`` they describe a network that is not registered, and are stored as they are.

    Raises:
        ValueError: facts that :func:`check_metadata` would refuse.
    """
    metadata = {**facts, "format_version": FORMAT_VERSION, "versions": versions()}
    cfg = check_metadata("", metadata)
    return metadata | (cfg.to_checkpoint_metadata() if cfg else {})


def check_metadata(path: str | os.PathLike, metadata: Mapping[str, Any]) -> PretrainedCfg | None:
    """Return the config of a checkpoint if all facts that a network is built from are valid.

    The history is not looked at. Nothing is read from metadata that name no model, and they have no config.

    Args:
        path: of the checkpoint.
        metadata: under its present keys.

    Raises:
        ValueError: a fact that is not valid.
    """
    cfg = PretrainedCfg.from_checkpoint(path, metadata)
    if cfg:
        check_model_args(get_model_spec(cfg.architecture), metadata.get("model_kwargs", {}), cfg)
    return cfg


def saved_kwargs(path: str | os.PathLike, spec: ModelSpec, metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Return the keywords of the builder from the metadata of a checkpoint, for a model that may be another.

    Args:
        path: of the checkpoint, for the message.
        spec: of the model to build.
        metadata: that :func:`check_metadata` accepts; {} for a file of another program.

    Raises:
        ValueError: keywords that the model does not take.
    """
    kwargs = metadata.get("model_kwargs", {})
    try:
        check_model_args(spec, kwargs)
    except ValueError as error:
        raise ValueError(f"the header of {path} must describe a {spec.name}; it does not: {error}") from None
    return kwargs
