"""Rules for values that come from a file, which is not trusted: plain, printable, finite and of bounded size.

A rule is a function of a name and a value that raises ValueError, in one line, for a value that does not fit.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NoReturn

from ..utils.text import MAX_TEXT, is_plain_text, shorten

Rule = Callable[[str, Any], object]

# Bytes of a JSON file, values in it, and levels of nesting. A format of labels with as many colors as it may have fits.
MAX_BYTES, MAX_ITEMS, MAX_DEPTH = 8 << 20, 500_000, 6
# The same of the keywords of a builder; values of a list, such as the grids of a pooling, each of which is computed in
# turn; and the absolute value of a number.
MAX_KWARGS, MAX_KWARGS_DEPTH, MAX_LIST, MAX_NUMBER = 1000, 4, 32, 1_000_000
# Bounds of keywords that all models share; those of the weights are the same.
BOUNDS = {"num_classes": (1, 10_000), "in_chans": (1, 1_000), "iterations": (1, 100), "loops": (0, 99)}
# Keywords for which timm would read a file, download something or return another kind of model; so do all that start
# with "pretrained".
FORBIDDEN_KEYS = {"checkpoint_path", "cache_dir", "feature_cls", "feature_cfg", "features_only", "kwargs_filter"}
# Texts of keywords: names of models, layers and modes. No URL and no path consists of these characters.
_WORD = re.compile(r"(?!.*\.\.)[A-Za-z0-9_.,+() =-]{0,200}")
# Notations of sources of weights; what follows the scheme.
SOURCES = {
    "bundled": re.compile(r"(?P<file>[\w-][\w.-]*)"),
    "local-dir": re.compile(r"(?P<path>.+)", re.DOTALL),
    "hf-hub": re.compile(r"(?P<repo>[\w.-]+/[\w.-]+)@(?P<commit>[0-9a-f]{40})/(?P<file>[\w.-]+\.safetensors)"),
    "https": re.compile(r"//[\w.-]+(:\d+)?(/[\w.~%+-]+)*/[\w.-]+\.safetensors"),
}


def refuse(name: str, what: str, value: object) -> NoReturn:
    """Raise the error that ``name`` must be ``what``."""
    raise ValueError(f"{name} must be {what}; got {shorten(value)}: correct it, or save the model again")


def match_source(name: str, value: Any) -> tuple[str, re.Match]:
    """Return the scheme of a source of weights, and the match of what follows it, by the scheme's pattern.

    Raises:
        ValueError: anything else.
    """
    scheme, _, rest = value.partition(":") if isinstance(value, str) else ("", "", "")
    if match := SOURCES[scheme].fullmatch(rest) if scheme in SOURCES else None:
        return scheme, match
    notations = "bundled:FILE, hf-hub:org/repo@<40-hex commit>/FILE.safetensors or https://HOST/FILE.safetensors"
    refuse(name, notations, value)


def rule(what: str, accepts: Callable[[Any], bool]) -> Rule:
    """Return the rule that values must be ``what``, which ``accepts`` decides."""

    def check(name: str, value: Any) -> None:
        if not accepts(value):
            refuse(name, what, value)

    return check


def whole(low: int, high: int) -> Rule:
    """Return the rule of whole numbers in a range."""
    return rule(f"a whole number from {low} to {high}", lambda value: type(value) is int and low <= value <= high)


def number(low: float, high: float) -> Rule:
    """Return the rule of finite numbers in a range."""
    return rule(
        f"a finite number from {low:g} to {high:g}",
        lambda value: isinstance(value, int | float) and not isinstance(value, bool) and low <= value <= high,
    )


def is_text(value: Any) -> bool:
    """Return whether a value can be stored and printed: of any script, without tabs and other control characters."""
    return isinstance(value, str) and is_plain_text(value)


text = rule(f"printable text of at most {MAX_TEXT} characters, without tabs", is_text)


def matching(pattern: str, what: str) -> Rule:
    """Return the rule of texts that match a pattern."""
    return rule(what, lambda value: isinstance(value, str) and re.fullmatch(pattern, value) is not None)


def tuple_of(item_rule: Rule, least: int = 0, most: int = 10_000) -> Rule:
    """Return the rule of tuples, each value of which follows a rule."""

    def check(name: str, value: Any) -> None:
        if not isinstance(value, tuple) or not least <= len(value) <= most:
            refuse(name, f"a list of {least} to {most} values", value)
        for item in value:
            item_rule(name, item)

    return check


def plain(max_items: int = MAX_ITEMS, max_depth: int = MAX_DEPTH) -> Rule:
    """Return the rule of objects of JSON, with names as keys, printable text and finite numbers."""

    def check(name: str, value: Any) -> None:
        if not isinstance(value, dict):
            refuse(name, "an object", value)
        check_plain(name, value, max_items, max_depth)

    return check


def check_plain(name: str, value: Any, max_items: int = MAX_ITEMS, max_depth: int = MAX_DEPTH) -> Any:
    """Return a value; raise ValueError unless it is of plain JSON types within bounds. A tuple counts as a list."""
    count = 0

    def check(name: str, value: Any, depth: int) -> None:
        nonlocal count
        count += 1
        if depth > max_depth or count > max_items:
            refuse(name, f"at most {max_items} values, {max_depth} levels deep", "more")
        if isinstance(value, dict):
            for key, item in value.items():
                text(name, key)
                check(key if len(key) <= 60 else shorten(key), item, depth + 1)
        elif isinstance(value, list | tuple):
            for item in value:
                check(name, item, depth + 1)
        elif isinstance(value, str):
            text(name, value)
        elif isinstance(value, float) and not math.isfinite(value):
            refuse(name, "finite", value)
        elif value is not None and not isinstance(value, bool | int | float):
            refuse(name, "of a type that JSON has", value)

    check(name, value, 0)
    return value


def check_model_kwargs(model_kwargs: Any) -> None:
    """Raise ValueError unless the keywords of a builder are plain, few and small, and load nothing."""
    plain(MAX_KWARGS, MAX_KWARGS_DEPTH)("keywords of a model", model_kwargs)
    _check_kwarg("keywords of a model", model_kwargs)


def _check_kwarg(name: str, value: Any) -> None:
    if isinstance(value, Mapping):
        for key, item in value.items():
            if key in FORBIDDEN_KEYS or key.startswith("pretrained") or not re.fullmatch(r"[A-Za-z_]\w{0,60}", key):
                refuse("a keyword of a model", "a plain name of an option, which loads nothing", key)
            _check_kwarg(key, item)
    elif isinstance(value, list | tuple):
        if len(value) > MAX_LIST:
            refuse(name, f"a list of at most {MAX_LIST} values", value)
        for item in value:
            _check_kwarg(name, item)
    elif isinstance(value, str):
        if not _WORD.fullmatch(value):
            refuse(name, "a plain word, and no path or URL", value)
    elif isinstance(value, int | float) and abs(value) > MAX_NUMBER:
        refuse(name, f"within {MAX_NUMBER}", value)


def parse_json(encoded: str) -> Any:
    """Return the value of JSON text.

    Raises:
        ValueError: no JSON, a key that is there twice, or too many levels.
    """

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        content: dict[str, Any] = {}
        for key, value in pairs:
            if key in content:
                refuse("a key of an object", "unique", key)
            content[key] = value
        return content

    try:
        return json.loads(encoded, object_pairs_hook=unique)
    except RecursionError:
        raise ValueError("JSON must not be nested so deeply: save the model again") from None


def read_json(path: Path) -> Any:
    """Return the content of a JSON file of bounded size, made of plain values within bounds.

    Raises:
        ValueError: no such file, one that is too large, or other content.
        OSError: it cannot be read.
    """
    if not path.is_file():
        raise ValueError("there is no such file")
    if (size := path.stat().st_size) > MAX_BYTES:
        raise ValueError(f"it must have at most {MAX_BYTES} bytes; it has {size}")
    return check_plain("its content", parse_json(path.read_text(encoding="utf-8")))
