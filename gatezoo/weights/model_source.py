"""Resolve what :func:`gatezoo.create_model` calls a model: a name, a folder or a repository."""

from __future__ import annotations

import os
import re
from typing import Any

from .. import hub
from ..pretrained import PretrainedCfg
from ..registry import ModelSpec, get_model_spec, get_pretrained_cfg, is_model
from ..utils.text import shorten
from .config import CONFIG, WEIGHTS, read_config, read_model_folder


def parse_model_source(
    model_name: str | os.PathLike, cache_dir: str | os.PathLike | None
) -> tuple[ModelSpec, PretrainedCfg | None, dict[str, Any]]:
    """Resolve a name of :func:`create_model` to a registered model, its weights and the keywords saved with them.

    Args:
        model_name: ``NAME``, ``NAME.TAG``, ``local-dir:FOLDER``, ``hf-hub:ORG/REPO[@REVISION]``, or the path of a model
            folder.
        cache_dir: folder of downloads; of a repository its config is fetched.

    Returns:
        The model's specification, the pretrained config of its weights (None if it has none), and the keywords that
        the folder or repository was saved with (empty for a registered name).

    Raises:
        ValueError: a name of no such form, an unknown name or tag, or a folder or repository without a valid config.
    """
    if isinstance(model_name, os.PathLike):
        return read_model_folder(model_name)
    if not isinstance(model_name, str):
        raise ValueError(f"a model must be a name; got {shorten(model_name)}: gatezoo.list_models() lists them")
    is_path = bool({":", "/", os.sep} & set(model_name))
    if not is_path and (is_model(model_name) or not os.path.isdir(model_name)):
        return get_model_spec(model_name), get_pretrained_cfg(model_name), {}
    if os.path.isfile(os.path.join(model_name, CONFIG)):
        return read_model_folder(model_name)
    scheme, _, rest = model_name.partition(":")
    scheme = scheme.lower().replace("_", "-")
    if scheme == "local-dir" and rest:
        return read_model_folder(rest)
    if scheme != "hf-hub" or not rest:
        raise ValueError(
            "a model must be NAME, NAME.TAG, local-dir:FOLDER or hf-hub:ORG/REPO[@REVISION]; got "
            f"{shorten(model_name, 200)}: {_advise_source(model_name)}"
        )
    repo, _, revision = rest.partition("@")
    commit = hub.resolve(repo, revision or None, cache_dir)
    return read_config(hub.fetch(repo, commit, CONFIG, cache_dir), f"hf-hub:{repo}@{commit}/{WEIGHTS}")


def _advise_source(name: str) -> str:
    """Return what to write in place of a name without a scheme, or with another."""
    if os.path.isdir(name):
        return f"this folder has no {CONFIG}, local-dir:FOLDER must be one that save_pretrained wrote"
    if re.fullmatch(r"[\w-][\w.-]*/[\w.-]+(@[^/]+)?", name):
        return f"pass hf-hub:{name} for a repository; there is no folder of this name for local-dir:{name}"
    return "there is no model folder of this name"
