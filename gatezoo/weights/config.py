"""Read and check ``config.json`` of a model folder: the name of a registered model and plain keywords of its builder.

The file is not trusted: types and bounds of all its values are checked before a network is built.
"""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from ..data.label_format import LabelFormat
from ..pretrained import PretrainedCfg, upgrade_model_kwargs
from ..registry import ModelSpec, get_model_spec
from ..utils.text import MAX_TEXT, is_plain_text, shorten
from .conversions import FORMAT_VERSION, check_version

CONFIG, WEIGHTS, CARD = "config.json", "model.safetensors", "README.md"
# Bytes of the file, values in it, levels of nesting, and the absolute value of a number. A format of labels with as
# many colors as it may have fits.
MAX_BYTES, MAX_ITEMS, MAX_DEPTH, MAX_NUMBER = 8 << 20, 500_000, 6, 1_000_000
# Parameters of a network that was built from other keywords than the registered ones: 8 GB.
MAX_PARAMETERS = 2_000_000_000
BOUNDS = {"num_classes": (1, 10_000), "in_chans": (1, 1_000), "iterations": (1, 100), "loops": (0, 99)}
# Types in JSON by the type of a keyword's default.
_KINDS = {bool: bool, int: int, str: str, tuple: list}
# Keywords for which timm would read a file, download something or return another kind of model.
FORBIDDEN_KEYS = {"checkpoint_path", "cache_dir", "feature_cls", "feature_cfg", "features_only", "kwargs_filter"}


def make_config(architecture: str, model_kwargs: Mapping[str, Any], cfg: Mapping[str, Any]) -> dict[str, Any]:
    """Return the content of ``config.json``.

    Args:
        architecture: name of the model.
        model_kwargs: keywords of its builder, without other weights to load.
        cfg: fields of :class:`PretrainedCfg`; those that name and locate the weights are left out, because they
            follow from the place of the folder.

    Raises:
        ValueError: content that :func:`read_config` would refuse.
    """
    config = {
        "format_version": FORMAT_VERSION,
        "library_name": "gatezoo",
        "architecture": architecture,
        "model_args": {key: value for key, value in model_kwargs.items() if key != "pretrained_backbone"},
        "pretrained_cfg": {key: value for key, value in cfg.items() if key in CFG_VALIDATORS},
    }
    read_back = check_plain_json(json.loads(json.dumps(config)))
    _check_cfg_fields(read_back["pretrained_cfg"], read_back["model_args"])
    return config


def read_config(path: Path, weights: str) -> tuple[ModelSpec, PretrainedCfg, dict[str, Any]]:
    """Return the model's specification, the config of its weights, and the keywords of its builder.

    Args:
        path: the file.
        weights: source of the weights, for their config.

    Raises:
        ValueError: a config that is damaged, of another program, or has a value that is not allowed.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ValueError(f"it must have at most {MAX_BYTES} bytes; it has {path.stat().st_size}")
        config = check_plain_json(json.loads(path.read_text(encoding="utf-8")))
        if not isinstance(config, dict):
            raise ValueError("it must be an object")
        for key, kind in (("architecture", str), ("model_args", dict), ("pretrained_cfg", dict)):
            if not isinstance(config.get(key), kind):
                raise ValueError(f"{key} must be of type {kind.__name__}; got {shorten(config.get(key))}")
        version = check_version(config.get("format_version", 1))
        spec = get_model_spec(config["architecture"])
        model_args = upgrade_model_kwargs(config["model_args"])
        check_model_args(spec, model_args)
        fields = config["pretrained_cfg"]
        _check_cfg_fields(fields, model_args)
        cfg = PretrainedCfg.from_config(spec.name, {**fields, "format_version": version}, weights)
        return spec, cfg, model_args
    except (OSError, ValueError, RecursionError) as error:
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


def check_plain_json(value: Any, depth: int = 0, count: list[int] | None = None) -> Any:
    """Return the value; raise ValueError unless it is made of plain JSON types within the bounds above."""
    count = [0] if count is None else count
    count[0] += 1
    if depth > MAX_DEPTH or count[0] > MAX_ITEMS:
        raise ValueError(f"it must hold at most {MAX_ITEMS} values, {MAX_DEPTH} levels deep")
    if isinstance(value, dict):
        for key, item in value.items():
            check_plain_json(key, depth + 1, count)
            check_plain_json(item, depth + 1, count)
    elif isinstance(value, list):
        for item in value:
            check_plain_json(item, depth + 1, count)
    elif isinstance(value, str):
        if not is_plain_text(value):
            raise ValueError(f"a text must be printable and at most {MAX_TEXT} characters; got {shorten(value)}")
    elif isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"a number must be finite; got {value}")
    return value


def check_model_args(spec: ModelSpec, args: dict[str, Any]) -> None:
    """Raise ValueError unless all keywords are those of the model, of the right types and within bounds."""
    if "pretrained_backbone" in args:
        raise ValueError("model_args must not load other weights; got 'pretrained_backbone'")
    spec.merge(args)
    for key, (low, high) in BOUNDS.items():
        if key in args and not (type(args[key]) is int and low <= args[key] <= high):
            raise ValueError(f"{key} must be a whole number from {low} to {high}; got {shorten(args[key])}")
    for name, default in spec.parameters().items():
        kind = _KINDS.get(type(default))
        if kind and name in args and type(args[name]) is not kind:
            raise ValueError(f"{name} must be of type {kind.__name__}; got {shorten(args[name])}")
    backbone = args.get("backbone")
    if backbone is not None and not (isinstance(backbone, str) and re.fullmatch(r"[\w.]+", backbone)):
        raise ValueError(f"backbone must be the name of a timm model; got {shorten(backbone)}")
    _check_values(args)


def _check_values(args: Any) -> None:
    """Raise ValueError for a number out of bounds or a forbidden key, at any depth."""
    if isinstance(args, dict):
        for key in args:
            if key in FORBIDDEN_KEYS or key.startswith("pretrained"):
                raise ValueError(f"model_args must be plain keywords of a network; got {key!r}")
    if isinstance(args, (dict, list)):
        for item in args.values() if isinstance(args, dict) else args:
            _check_values(item)
    elif isinstance(args, (int, float)) and abs(args) > MAX_NUMBER:
        raise ValueError(f"a number in model_args must be within {MAX_NUMBER}; got {args}")


Validator = Callable[[Any], bool]


def _number(low: float, high: float, kind: type[float] = float) -> Validator:
    def is_valid(value: Any) -> bool:
        return isinstance(value, (int, kind)) and not isinstance(value, bool) and low <= value <= high

    return is_valid


def _list(is_valid: Validator, least: int = 0) -> Validator:
    return lambda value: isinstance(value, list) and len(value) >= least and all(map(is_valid, value))


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_color(value: Any) -> bool:
    return _list(_number(0, 255, int), 3)(value) and len(value) == 3


# Whether a value fits, by the field of ``pretrained_cfg``.
CFG_VALIDATORS: dict[str, Validator] = {
    "num_classes": _number(*BOUNDS["num_classes"], int),
    "in_chans": _number(*BOUNDS["in_chans"], int),
    "mean": _list(_number(-1e4, 1e4), 1),
    "std": _list(_number(1e-6, 1e4), 1),
    "class_names": _list(_is_text),
    "palette": _list(_is_color),
    "interpolation": lambda value: value in ("nearest", "bilinear", "bicubic"),
    "ignore_index": _number(-1, 65_535, int),
    "size": _number(0, 1 << 40, int),
    "sha256": lambda value: _is_text(value) and bool(re.fullmatch(r"[0-9a-f]{64}", value)),
    "keys_sha256": lambda value: _is_text(value) and bool(re.fullmatch(r"([0-9a-f]{64})?", value)),
    "label_format": lambda value: isinstance(value, dict),
    "image_max": lambda value: value is None or _number(1e-9, 1e9)(value),
    "recipe": lambda value: isinstance(value, dict),
    "metrics": lambda value: isinstance(value, dict),
    "versions": lambda value: isinstance(value, dict) and all(map(_is_text, value.values())),
} | dict.fromkeys(("train_data", "command", "license", "data_license", "base_model"), _is_text)
assert set(CFG_VALIDATORS) <= {field.name for field in fields(PretrainedCfg)}


def check_cfg_values(cfg: Mapping[str, Any]) -> None:
    """Raise ValueError unless the values of all known fields are valid and consistent with each other."""
    for key in cfg.keys() & CFG_VALIDATORS.keys():
        if not CFG_VALIDATORS[key](cfg[key]):
            raise ValueError(f"{key} of pretrained_cfg must be valid; got {shorten(cfg[key])}")
    LabelFormat.from_dict(cfg.get("label_format", {}))
    mean, std = (len(cfg.get(key, ())) for key in ("mean", "std"))
    if mean != std:
        raise ValueError(f"mean and std must be of one length; got {mean} and {std}")
    for key in ("class_names", "palette"):
        if cfg.get(key) and len(cfg[key]) != cfg.get("num_classes", len(cfg[key])):
            raise ValueError(f"{key} must be one for each of {cfg['num_classes']} classes; got {len(cfg[key])}")


def _check_cfg_fields(cfg: dict[str, Any], args: dict[str, Any]) -> None:
    """Raise ValueError unless all fields are known, valid, and consistent with each other and the keywords."""
    if unknown := sorted(set(cfg) - set(CFG_VALIDATORS)):
        raise ValueError(f"pretrained_cfg has the fields {', '.join(sorted(CFG_VALIDATORS))}; got {unknown[0]!r}")
    if missing := sorted({"num_classes", "mean", "std", "size", "sha256"} - set(cfg)):
        raise ValueError(f"pretrained_cfg must have the fields {', '.join(missing)}; got none of this name")
    check_cfg_values(cfg)
    for key in ("num_classes", "in_chans"):
        if key in args and args[key] != cfg.get(key, args[key]):
            raise ValueError(f"{key} must be the same in model_args and pretrained_cfg; got {args[key]}, {cfg[key]}")
