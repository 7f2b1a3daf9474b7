"""Convert state dicts of older format versions to the present parameter names.

Published weights keep the names they were saved with; ``format_version`` in their config is the version of these names.
``_CONVERSIONS[family][version]`` renames the tensors of a family (a module of ``gatezoo.models``) from that version to
the next. To rename a parameter, add one to ``FORMAT_VERSION``, write the conversion, and keep the old checkpoint in
``tests/golden``, where it must give the same logits as before.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

from ..pretrained.upgrades import FORMAT_VERSION, check_version

T = TypeVar("T")

_CONVERSIONS: dict[str, dict[int, Callable[[dict], dict]]] = {}


def convert_state_dict(tensors: Mapping[str, T], family: str, version: int) -> dict[str, T]:
    """Return tensors of a format version under the present names of a family's parameters."""
    converted = dict(tensors)
    for step in range(check_version(version), FORMAT_VERSION):
        converted = _CONVERSIONS.get(family, {}).get(step, dict)(converted)
    return converted


def version_hint(made_with: Mapping[str, str], installed: Mapping[str, str]) -> str:
    """Return a hint for weights whose names do not fit, if another timm, which names the backbone's, made them."""
    before, now = made_with.get("timm"), installed.get("timm")
    if not before or before == now:
        return ""
    return (
        f". They were made with timm {before} and this is timm {now}: if it renamed the backbone's, use timm=={before}"
    )
