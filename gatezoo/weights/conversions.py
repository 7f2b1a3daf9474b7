"""Convert state dicts of older format versions to the present parameter names.

Published weights keep the names they were saved with; ``format_version`` in their config is the version of these names.
``_CONVERSIONS[family][version]`` renames the tensors of a family (a module of ``gatezoo.models``) from that version to
the next. To rename a parameter, add one to ``FORMAT_VERSION``, write the conversion, and keep the old checkpoint in
``tests/golden``, where it must give the same logits as before.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

T = TypeVar("T")

# 1: configs without a version. 2: the same names, with a version. 3: the same names; the keys of metadata and recipes
# changed, see :func:`gatezoo.pretrained.upgrade_metadata`.
FORMAT_VERSION = 3

_CONVERSIONS: dict[str, dict[int, Callable[[dict], dict]]] = {}


def check_version(version: object) -> int:
    """Return the version if it can be read.

    Raises:
        ValueError: no version, or a newer one.
    """
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise ValueError(f"format_version must be a whole number, at least 1; got {version!r}: save the model again")
    if version > FORMAT_VERSION:
        raise ValueError(
            f"format_version must be at most {FORMAT_VERSION}; got {version}: made by a newer gatezoo, upgrade"
        )
    return version


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
