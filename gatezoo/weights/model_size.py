"""Bounds of a network that is built from the keywords of a file, which is not trusted."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import nn
from torch.nn.modules.module import register_module_module_registration_hook

from ..pretrained.rules import BOUNDS
from ..registry import ModelSpec
from ..utils.text import first_line, shorten

# Parameters of a network that was built from other keywords than the registered ones: 8 GB.
MAX_PARAMETERS = 2_000_000_000
# The deepest networks of timm have under four thousand modules, with those that are built to probe shapes.
MAX_MODULES = 6_000
# Keywords that users of a model commonly change, with the values up to which the model need not be tried.
_USUAL_LIMITS = {"num_classes": 1000, "in_chans": 16, "iterations": 100, "loops": 99}


def check_bounds(model_kwargs: Mapping[str, Any]) -> None:
    """Raise ValueError unless the keywords that all models share are within their bounds."""
    for key, (low, high) in BOUNDS.items():
        value = model_kwargs.get(key)
        if value is not None and not (isinstance(value, int) and low <= value <= high):
            raise ValueError(f"{key} must be a whole number from {low} to {high}; got {shorten(value)}")


def check_model_size(spec: ModelSpec, model_kwargs: Mapping[str, Any], max_parameters: int = MAX_PARAMETERS) -> None:
    """Refuse keywords that make no network, or one with more parameters or modules than any file of weights holds.

    Args:
        spec: of the model.
        model_kwargs: flat keywords, from a file.
        max_parameters: number of parameters that the network may have.

    Raises:
        ValueError: such keywords.
    """
    changed = spec.non_default_kwargs(
        {key: tuple(value) if isinstance(value, list) else value for key, value in model_kwargs.items()}
    )
    if all(isinstance(value, int) and value <= _USUAL_LIMITS.get(key, -1) for key, value in changed.items()):
        return
    try:
        # On the meta device numbers take neither memory nor time. More than two passes reveal nothing new.
        few = {key: min(2, model_kwargs[key]) for key in ("iterations", "loops") if key in model_kwargs}
        with torch.device("meta"), torch.no_grad(), _limited_modules():
            model = spec.build(**spec.merge({**model_kwargs, **few})).eval()
            count = sum(parameter.numel() for parameter in model.parameters())
            if count <= max_parameters:
                model.raw_outputs(torch.empty(1, model.in_chans, 64, 64))
    except (ValueError, TypeError, RuntimeError, AssertionError, LookupError, AttributeError, OverflowError) as error:
        raise ValueError(
            f"model_args of a configuration must make a {spec.name}; they do not: {first_line(error)}"
        ) from None
    if count > max_parameters:
        raise ValueError(
            f"model_args of a configuration must make a network of at most {max_parameters} parameters; got {count}"
        )


@contextlib.contextmanager
def _limited_modules() -> Iterator[None]:
    """Refuse to build more than ``MAX_MODULES`` modules: each takes time, even without memory for its weights."""
    count = 0

    def count_module(module: nn.Module, name: str, submodule: nn.Module | None) -> None:
        nonlocal count
        count += 1
        if count > MAX_MODULES:
            raise ValueError(f"it has more than {MAX_MODULES} modules")

    handle = register_module_module_registration_hook(count_module)
    try:
        yield
    finally:
        handle.remove()
