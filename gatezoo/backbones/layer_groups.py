"""Order of a timm network's layers, from the input on, for learning rates that fall from layer to layer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import timm
import torch
from timm.models import group_parameters

# Keywords of a feature network alone.
_FEATURE_KWARGS = ("out_indices", "feature_cls", "flatten_sequential")


def layer_numbers(name: str, kwargs: Mapping[str, Any]) -> Callable[[str], int]:
    """Return the function from a parameter's name in the feature network to the number of its layer, 0 the first.

    The layers are those of timm's ``group_matcher`` of the whole network, whose names the feature network keeps but for
    a prefix and dots that are underscores.

    Args:
        name: a timm model.
        kwargs: keywords that the feature network was built with.

    Raises:
        ValueError: a network whose layers timm does not list.
    """
    whole_kwargs = {key: value for key, value in kwargs.items() if key not in _FEATURE_KWARGS}
    try:
        with torch.device("meta"):
            whole: Any = timm.create_model(name, **whole_kwargs)
        layers = group_parameters(whole, whole.group_matcher(coarse=False), reverse=True)
    except (AttributeError, AssertionError, RuntimeError, TypeError):
        raise ValueError(
            f"layer_decay must be 1 for a backbone whose layers timm does not list; got {name!r}: leave it out"
        ) from None
    by_plain_name = {_plain(parameter): layer for parameter, layer in layers.items()}

    def number(parameter: str) -> int:
        return by_plain_name[_plain(parameter.removeprefix("model."))]

    return number


def _plain(name: str) -> str:
    return name.replace(".", "_")
