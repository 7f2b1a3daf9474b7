"""Order of a timm network's layers, from the input on, for learning rates that fall from layer to layer."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import timm
import torch
from timm.models import group_parameters
from torch import nn

# Keywords of a feature network alone.
_FEATURE_KWARGS = ("out_indices", "feature_cls", "flatten_sequential")


def layers_of(backbone: nn.Module, coarse: bool = False) -> dict[str, int]:
    """Return the number of the layer of each parameter of a backbone, 0 the first; ``coarse`` counts stages."""
    matcher: Any = backbone.group_matcher
    return group_parameters(backbone, matcher(coarse=coarse), reverse=True)


def layer_numbers(name: str, kwargs: Mapping[str, Any], coarse: bool = False) -> Callable[[str], int]:
    """Return the function from a parameter's name in the feature network to the number of its layer, 0 the first.

    The layers are those of timm's ``group_matcher`` of the whole network, whose names the feature network keeps but for
    a prefix and dots that are underscores.

    Args:
        name: a timm model.
        kwargs: keywords that the feature network was built with.
        coarse: count timm's stages instead of its blocks.

    Raises:
        ValueError: a network whose layers timm does not list.
    """
    try:
        layers = layers_of(_whole_network(name, kwargs), coarse)
    except (AttributeError, AssertionError, RuntimeError, TypeError):
        raise ValueError(
            f"layer_decay must be 1 for a backbone whose layers timm does not list; got {name!r}: leave it out"
        ) from None
    by_plain_name = {_plain(parameter): layer for parameter, layer in layers.items()}

    def number(parameter: str) -> int:
        # The offsets of a deformable convolution, which timm does not know, are of its layer.
        own = re.sub(r"\.offset\.(weight|bias)$", ".weight", parameter)
        return by_plain_name[_plain(own.removeprefix("model."))]

    return number


def undecayed(name: str, kwargs: Mapping[str, Any], parameters: Iterable[str]) -> set[str]:
    """Return those of a feature network's parameters that timm exempts from weight decay, beside biases and norms.

    Args:
        name: a timm model.
        kwargs: keywords that the feature network was built with.
        parameters: their names in the feature network.
    """
    exempt: Any = getattr(_whole_network(name, kwargs), "no_weight_decay", set)
    plain_names = {_plain(parameter) for parameter in exempt()}
    return {parameter for parameter in parameters if _plain(parameter.removeprefix("model.")) in plain_names}


def _whole_network(name: str, kwargs: Mapping[str, Any]) -> Any:
    """Build timm's whole network, without memory for its weights."""
    with torch.inference_mode(False), torch.device("meta"):
        return timm.create_model(name, **{key: value for key, value in kwargs.items() if key not in _FEATURE_KWARGS})


def _plain(name: str) -> str:
    return name.replace(".", "_")
