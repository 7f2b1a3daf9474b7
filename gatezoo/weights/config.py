"""Read and write ``config.json`` of a model folder: name of a model, keywords of its builder, record of its weights.

The file is not trusted: types and bounds of all its values are checked before a network is built.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..pretrained import FORMAT_VERSION, PretrainedCfg, upgrade_model_kwargs
from ..pretrained.rules import check_model_kwargs, check_plain, read_json
from ..pretrained.upgrades import check_version
from ..registry import ModelSpec, get_model_spec
from ..utils.text import shorten
from .model_size import check_bounds

CONFIG, WEIGHTS, CARD = "config.json", "model.safetensors", "README.md"


def make_config(model_kwargs: Mapping[str, Any], cfg: PretrainedCfg) -> dict[str, Any]:
    """Return the content of ``config.json``.

    Args:
        model_kwargs: keywords of the builder; other weights to load are left out.
        cfg: of the weights, with size and sha256. What names and locates them is left out, because it follows from
            the place of the folder.

    Raises:
        ValueError: content that :func:`read_config` would refuse.
    """
    model_args = {key: value for key, value in model_kwargs.items() if key != "pretrained_backbone"}
    config = {
        "format_version": FORMAT_VERSION,
        "library_name": "gatezoo",
        "architecture": cfg.architecture,
        "model_args": model_args,
        "pretrained_cfg": cfg.to_config(),
    }
    parse_config(json.loads(json.dumps(config)), f"local-dir:{WEIGHTS}")
    return config


def parse_config(config: Any, weights: str) -> tuple[ModelSpec, PretrainedCfg, dict[str, Any]]:
    """Return what :func:`read_config` does, of the content of the file. Raises as that does."""
    if not isinstance(check_plain("its content", config), dict):
        raise ValueError("it must be an object")
    for key, kind in (("architecture", str), ("model_args", dict), ("pretrained_cfg", dict)):
        if not isinstance(config.get(key), kind):
            raise ValueError(f"{key} must be of type {kind.__name__}; got {shorten(config.get(key))}")
    fields = {**config["pretrained_cfg"], "format_version": check_version(config.get("format_version", 1))}
    spec = get_model_spec(config["architecture"])
    cfg = PretrainedCfg.from_config(spec.name, fields, weights)
    model_args = upgrade_model_kwargs(config["model_args"])
    check_model_args(spec, model_args, cfg)
    return spec, cfg, model_args


def read_config(path: Path, weights: str) -> tuple[ModelSpec, PretrainedCfg, dict[str, Any]]:
    """Return the model's specification, the config of its weights, and the keywords of its builder.

    Args:
        path: the file.
        weights: source of the weights, for their config.

    Raises:
        ValueError: a config that is damaged, of another program, or has a value that is not allowed.
    """
    try:
        return parse_config(read_json(path), weights)
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} must be a model config as save_pretrained writes it: {error}") from None


def read_model_folder(folder: str | os.PathLike) -> tuple[ModelSpec, PretrainedCfg, dict[str, Any]]:
    """Return the model's specification, the config of its weights, and the keywords of its builder.

    Raises:
        ValueError: no such folder, or a config that is damaged, of another program, or not plain data.
    """
    folder = Path(folder)
    if not os.path.isfile(folder / CONFIG):
        raise ValueError(f"a model folder must hold {CONFIG} and {WEIGHTS}; {folder} has no {CONFIG}")
    return read_config(folder / CONFIG, f"local-dir:{folder / WEIGHTS}")


def check_model_args(spec: ModelSpec, args: Mapping[str, Any], cfg: PretrainedCfg | None = None) -> None:
    """Raise ValueError unless keywords from a file are plain, small, those of the model, and of the right types.

    Args:
        spec: of the model.
        args: the keywords.
        cfg: of the weights, whose sizes they may not contradict.
    """
    check_model_kwargs(args)
    check_bounds(spec.validate(spec.merge(args)))
    for key in ("num_classes", "in_chans"):
        if cfg and args.get(key, getattr(cfg, key)) != getattr(cfg, key):
            raise ValueError(
                f"{key} must be that of the weights, {getattr(cfg, key)}; got {args[key]}: correct it, or save the "
                "model again"
            )
