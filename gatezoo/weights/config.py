"""``config.json`` of a model folder: data that names a row of the registry and its plain keywords, and nothing else.

It may come from anybody. What it says is checked for kind and bounds before anything is built from it.
"""

from __future__ import annotations

import inspect
import json
import math
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from ..pretrained import PretrainedCfg
from ..registry import ModelSpec, get_model_spec
from .conversions import FORMAT_VERSION, check_version

CONFIG = "config.json"
# Bytes of the file, items in it, levels of nesting, characters of a text, and how large a number may be.
MAX_BYTES, MAX_ITEMS, MAX_DEPTH, MAX_TEXT, MAX_NUMBER = 1 << 20, 100_000, 6, 10_000, 1_000_000
# Parameters of a network that keywords other than the row's may ask for: 8 GB.
MAX_PARAMETERS = 2_000_000_000
BOUNDS = {"num_classes": (1, 10_000), "in_chans": (1, 1_000), "iterations": (1, 100), "loops": (0, 99)}
# What JSON has for a default of a builder's keyword.
_KINDS = {bool: bool, int: int, str: str, tuple: list}
# What a timm model would read a file, fetch something or change its kind for.
FORBIDDEN_KEYS = {"checkpoint_path", "cache_dir", "feature_cls", "feature_cfg", "features_only", "kwargs_filter"}


def make_config(architecture: str, model_kwargs: Mapping[str, Any], about: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration to write: of a network and, in ``about``, the fields of :class:`PretrainedCfg`."""
    # What a folder's weights are called, and where they are, follows from where the folder is.
    kept = {key: value for key, value in about.items() if key in CFG_VALIDATORS}
    return {
        "format_version": FORMAT_VERSION,
        "library_name": "gatezoo",
        "architecture": architecture,
        "model_args": {key: value for key, value in model_kwargs.items() if key != "pretrained_backbone"},
        "pretrained_cfg": kept,
    }


def read_config(path: Path, weights: str) -> tuple[ModelSpec, PretrainedCfg, dict[str, Any]]:
    """The row, the entry of the weights, and the keywords of the builder.

    Args:
        weights: the source of the weights, for the entry.

    Raises:
        ValueError: a configuration that is damaged, of another program, or asks for what data may not ask for.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ValueError(f"it must be at most {MAX_BYTES} bytes; it has {path.stat().st_size}")
        config = _check_plain_json(json.loads(path.read_text(encoding="utf-8")))
        if not isinstance(config, dict):
            raise ValueError("it must be an object")
        for key, kind in (("architecture", str), ("model_args", dict), ("pretrained_cfg", dict)):
            if not isinstance(config.get(key), kind):
                raise ValueError(f"{key} must be told, as a {kind.__name__}; got {_shorten(config.get(key))}")
        version = check_version(config.get("format_version", 1))
        row = get_model_spec(config["architecture"])
        args = _checked_args(row, config["model_args"])
        about = _checked_about(config["pretrained_cfg"], args) | {"format_version": version}
        return row, PretrainedCfg.from_config(row.name, about, weights), args
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(f"{path} must be a model's configuration as save_pretrained writes it: {error}") from None


def _check_plain_json(value: Any, depth: int = 0, count: list[int] | None = None) -> Any:
    """The value if it is made of plain things of bounded size."""
    count = [0] if count is None else count
    count[0] += 1
    if depth > MAX_DEPTH or count[0] > MAX_ITEMS:
        raise ValueError(f"it must hold at most {MAX_ITEMS} things, {MAX_DEPTH} levels deep")
    if isinstance(value, dict):
        for key, item in value.items():
            _check_plain_json(key, depth + 1, count)
            _check_plain_json(item, depth + 1, count)
    elif isinstance(value, list):
        for item in value:
            _check_plain_json(item, depth + 1, count)
    elif isinstance(value, str):
        if len(value) > MAX_TEXT or not value.isprintable():
            raise ValueError(f"a text must be printable and at most {MAX_TEXT} characters; got {_shorten(value)}")
    elif isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"a number must be finite; got {value}")
    return value


def _checked_args(row: ModelSpec, args: dict[str, Any]) -> dict[str, Any]:
    if "pretrained_backbone" in args:
        raise ValueError("model_args must not ask for other weights; got 'pretrained_backbone'")
    row.merge(args)
    for key, (low, high) in BOUNDS.items():
        if key in args and not (type(args[key]) is int and low <= args[key] <= high):
            raise ValueError(f"{key} must be a whole number from {low} to {high}; got {_shorten(args[key])}")
    for parameter in inspect.signature(row.builder).parameters.values():
        kind = _KINDS.get(type(parameter.default))
        if kind and parameter.name in args and type(args[parameter.name]) is not kind:
            raise ValueError(f"{parameter.name} must be a {kind.__name__}; got {_shorten(args[parameter.name])}")
    backbone = args.get("backbone")
    if backbone is not None and not (isinstance(backbone, str) and re.fullmatch(r"[\w.]+", backbone)):
        raise ValueError(f"backbone must be the name of a timm model; got {_shorten(backbone)}")
    _check_values(args)
    return args


def _check_values(args: Any) -> None:
    """Numbers within bounds, and no key that is more than data, at any depth."""
    if isinstance(args, dict):
        for key in args:
            if key in FORBIDDEN_KEYS or key.startswith("pretrained"):
                raise ValueError(f"model_args must be plain keywords of a network; got {key!r}")
    if isinstance(args, (dict, list)):
        for item in args.values() if isinstance(args, dict) else args:
            _check_values(item)
    elif isinstance(args, (int, float)) and abs(args) > MAX_NUMBER:
        raise ValueError(f"a number of model_kwargs must be within {MAX_NUMBER}; got {args}")


def _numbers(low: float, high: float, kind: type = float) -> Callable[[Any], bool]:
    def fits(value: Any) -> bool:
        number = isinstance(value, (int, kind)) and not isinstance(value, bool)
        return number and low <= value <= high

    return fits


def _all(fits: Callable[[Any], bool], least: int = 0) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, list) and len(value) >= least and all(fits(item) for item in value)


def _text(value: Any) -> bool:
    return isinstance(value, str)


# What each field of ``pretrained_cfg`` must be.
CFG_VALIDATORS: dict[str, Callable[[Any], bool]] = {
    "num_classes": _numbers(*BOUNDS["num_classes"], int),
    "in_chans": _numbers(*BOUNDS["in_chans"], int),
    "mean": _all(_numbers(-1e4, 1e4), 1),
    "std": _all(_numbers(1e-6, 1e4), 1),
    "class_names": _all(_text),
    "palette": _all(lambda value: _all(_numbers(0, 255, int), 3)(value) and len(value) == 3),
    "interpolation": lambda value: value in ("nearest", "bilinear", "bicubic"),
    "ignore_index": _numbers(-1, 65_535, int),
    "size": _numbers(0, 1 << 40, int),
    "sha256": lambda value: _text(value) and bool(re.fullmatch(r"[0-9a-f]{64}", value)),
    "keys_sha256": lambda value: _text(value) and bool(re.fullmatch(r"([0-9a-f]{64})?", value)),
    "recipe": lambda value: isinstance(value, dict),
    "metrics": lambda value: isinstance(value, dict),
    "versions": lambda value: isinstance(value, dict) and all(map(_text, value.values())),
} | dict.fromkeys(("train_data", "command", "license", "data_license"), _text)
assert set(CFG_VALIDATORS) <= {field.name for field in fields(PretrainedCfg)}


def _checked_about(about: dict[str, Any], args: dict[str, Any]) -> dict[str, Any]:
    if unknown := sorted(set(about) - set(CFG_VALIDATORS)):
        raise ValueError(f"pretrained_cfg has the fields {', '.join(sorted(CFG_VALIDATORS))}; got {unknown[0]!r}")
    if missing := sorted({"num_classes", "mean", "std", "size", "sha256"} - set(about)):
        raise ValueError(f"pretrained_cfg must tell {', '.join(missing)}")
    for key, value in about.items():
        if not CFG_VALIDATORS[key](value):
            raise ValueError(f"{key} of pretrained_cfg does not fit; got {_shorten(value)}")
    if len(about["mean"]) != len(about["std"]):
        raise ValueError(f"mean and std must be of one length; got {len(about['mean'])} and {len(about['std'])}")
    for key in ("num_classes", "in_chans"):
        if key in args and args[key] != about.get(key, args[key]):
            raise ValueError(
                f"{key} must be the same in model_kwargs and pretrained_cfg; got {args[key]}, {about[key]}"
            )
    for key in ("class_names", "palette"):
        if about.get(key) and len(about[key]) != about["num_classes"]:
            raise ValueError(f"{key} must be one for each of {about['num_classes']} classes; got {len(about[key])}")
    return about


def _shorten(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


WEIGHTS, CARD = "model.safetensors", "README.md"


def read_model_folder(folder: str | os.PathLike) -> tuple[ModelSpec, PretrainedCfg, dict[str, Any]]:
    """What a model folder holds: its row, the entry of its weights, and keywords of the builder.

    Raises:
        ValueError: no such folder, or a configuration that is damaged, of another program, or not plain data.
    """
    folder = Path(folder)
    if not (folder / CONFIG).is_file():
        raise ValueError(f"a model folder must hold {CONFIG} and {WEIGHTS}; {folder} has no {CONFIG}")
    return read_config(folder / CONFIG, f"local-dir:{folder / WEIGHTS}")
