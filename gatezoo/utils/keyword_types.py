"""Check values of keywords against the annotations of a function."""

from __future__ import annotations

import inspect
import math
import numbers
import operator
import os
import re
from collections.abc import Callable, Mapping
from typing import Any

from .text import shorten

# No width or size of a network is above it.
MAX_NUMBER = 1_000_000


def _is_str(value: Any) -> bool:
    return isinstance(value, str)


def _is_int(value: Any) -> bool:
    return isinstance(value, numbers.Integral) and not isinstance(value, bool) and abs(int(value)) <= MAX_NUMBER


def _is_float(value: Any) -> bool:
    return isinstance(value, numbers.Real) and not isinstance(value, bool) and math.isfinite(value)


def _is_tuple(is_item: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, (list, tuple)) and all(map(is_item, value))


def _is_mapping(is_item: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, Mapping) and all(map(_is_str, value)) and all(map(is_item, value.values()))


# Test and name of each type that annotations are made of.
_TYPES: dict[str, tuple[Callable[[Any], bool], str]] = {
    "None": (lambda value: value is None, "None"),
    "bool": (lambda value: isinstance(value, bool), "True or False"),
    "str": (_is_str, "a text"),
    "Literal['auto']": (lambda value: value == "auto", "'auto'"),
    "Path": (lambda value: isinstance(value, os.PathLike), "a path"),
    "int": (_is_int, f"a whole number up to {MAX_NUMBER}"),
    "float": (_is_float, "a finite number"),
    "tuple[int, ...]": (_is_tuple(_is_int), f"a list of whole numbers up to {MAX_NUMBER}"),
    "tuple[float, float]": (
        lambda value: _is_tuple(_is_float)(value) and len(value) == 2,
        "two finite numbers",
    ),
    "tuple[float, ...]": (_is_tuple(_is_float), "a list of finite numbers"),
    "tuple[str, ...]": (_is_tuple(_is_str), "a list of texts"),
    "Mapping[str, Any]": (_is_mapping(lambda value: True), "a dict with names as keys"),
    "dict[str, Any]": (_is_mapping(lambda value: True), "a dict with names as keys"),
    "dict[str, float]": (_is_mapping(_is_float), "a dict of finite numbers by name"),
    "dict[str, list[float]]": (_is_mapping(_is_tuple(_is_float)), "a dict of lists of finite numbers by name"),
}


def drop_unset(keywords: Mapping[str, Any], signature: inspect.Signature) -> dict[str, Any]:
    """Return keywords without those that are None where None is no value, which count as not given.

    Args:
        keywords: as the user gave them. None is a value of those whose annotation names it, such as ``int | None``.
        signature: of the function that takes them.
    """
    known = signature.parameters
    takes_none = {key for key in keywords if key in known and _accepts_none(known[key].annotation)}
    return {key: value for key, value in keywords.items() if value is not None or key in takes_none}


def _accepts_none(annotation: Any) -> bool:
    return re.search(r"\b(None|Optional|Any)\b", _text(annotation)) is not None


def _text(annotation: Any) -> str:
    return annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)


def check_keyword(name: str, value: Any, annotation: Any) -> Any:
    """Return the value of a keyword if it is of the annotated type; a NumPy integer is returned as an int.

    Annotations of other types than those above are not checked.

    Args:
        name: of the keyword, for the message.
        value: as the user gave it.
        annotation: of the parameter or the field.

    Raises:
        ValueError: a value of another type, or a number out of bounds.
    """
    kinds = _text(annotation).split(" | ")
    if annotation is inspect.Parameter.empty or not set(kinds) <= set(_TYPES):
        return value
    if not any(_TYPES[kind][0](value) for kind in kinds):
        raise ValueError(f"{name} must be {' or '.join(_TYPES[kind][1] for kind in kinds)}; got {shorten(value)}")
    return operator.index(value) if isinstance(value, numbers.Integral) and not isinstance(value, bool) else value


def as_tuples(value: Any) -> Any:
    """Return a value with tuples in place of its lists, as JSON has no tuples; in dicts, too."""
    if isinstance(value, dict):
        return {key: as_tuples(item) for key, item in value.items()}
    return tuple(map(as_tuples, value)) if isinstance(value, (list, tuple)) else value
