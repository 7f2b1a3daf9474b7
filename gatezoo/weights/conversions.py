"""Names of tensors change as the code does; weights that were published do not. What leads from the one to the other.

A configuration tells the version of the names its weights have. ``_CONVERSIONS[family][version]`` renames the tensors
of a family (a file of ``gatezoo.models``) from that version to the next. Whoever renames a parameter adds one to
``FORMAT_VERSION``, writes the conversion, and keeps the old checkpoint in ``tests/golden`` loading to the same logits.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

T = TypeVar("T")

# 1: configurations that tell no version. 2: the same names; the version is told.
FORMAT_VERSION = 2

_CONVERSIONS: dict[str, dict[int, Callable[[dict], dict]]] = {}


def check_version(version: object) -> int:
    """The version if this gatezoo can read it, else ValueError."""
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise ValueError(f"format_version must be a whole number, at least 1; got {version!r}")
    if version > FORMAT_VERSION:
        raise ValueError(
            f"format_version must be at most {FORMAT_VERSION}; got {version}: made by a newer gatezoo, upgrade"
        )
    return version


def convert_state_dict(tensors: Mapping[str, T], family: str, version: int) -> dict[str, T]:
    """Tensors under the names that the networks of a family have now."""
    converted = dict(tensors)
    for step in range(check_version(version), FORMAT_VERSION):
        converted = _CONVERSIONS.get(family, {}).get(step, dict)(converted)
    return converted


def version_hint(made_with: Mapping[str, str], here: Mapping[str, str]) -> str:
    """What to say of weights whose names do not fit: that another timm, which names a backbone's tensors, made them."""
    before, now = made_with.get("timm"), here.get("timm")
    if not before or before == now:
        return ""
    return (
        f" They were made with timm {before} and this is timm {now}: if it renamed the backbone's, use timm=={before}"
    )
