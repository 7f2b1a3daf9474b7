"""Names of models. A leaf: model files register their rows here, and nothing here needs torch."""

from __future__ import annotations

import difflib
import fnmatch
import functools
import inspect
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from .pretrained import PretrainedCfg, of_architecture


@dataclass(frozen=True)
class ModelSpec:
    """A variant: its builder and the keywords that make it this one, and what its network finds ("semantic": a class
    for every pixel, "instance": objects).
    """

    name: str
    module: str
    builder: Callable
    model_kwargs: Mapping[str, Any]
    task: str = "semantic"

    def parameter_names(self) -> list[str]:
        """Names of the keywords that the builder takes; empty if it takes any."""
        parameters = inspect.signature(self.builder).parameters.values()
        return [] if any(p.kind is p.VAR_KEYWORD for p in parameters) else [p.name for p in parameters]

    def merge(self, overrides: Mapping[str, Any]) -> dict[str, Any]:
        """The row's keywords under the caller's. Another backbone leaves the row's ``backbone_args`` behind.

        Raises:
            ValueError: a keyword that the builder does not take.
        """
        accepted = self.parameter_names()
        for key in overrides:
            if accepted and key not in accepted:
                raise ValueError(
                    f"{self.name} takes the keywords {', '.join(accepted)}; got {key!r}{suggest(key, accepted)}"
                )
        model_kwargs = dict(self.model_kwargs)
        if overrides.get("backbone", model_kwargs.get("backbone")) != model_kwargs.get("backbone"):
            model_kwargs.pop("backbone_args", None)
        return model_kwargs | dict(overrides)

    def non_default_kwargs(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Those of the builder's arguments that are not what the row gives by itself."""
        defaults = {p.name: p.default for p in inspect.signature(self.builder).parameters.values()} | self.model_kwargs
        return {key: value for key, value in arguments.items() if key not in defaults or defaults[key] != value}

    def architecture_kwargs(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """:meth:`changes` that make another network than the row's, whatever its images, classes and training."""
        told = self.non_default_kwargs(arguments)
        return {key: value for key, value in told.items() if key not in ("num_classes", "in_chans", "freeze_bn")}


_rows: dict[str, ModelSpec] = {}


def suggest(word: str, words: Iterable[str]) -> str:
    near = difflib.get_close_matches(word, list(words), n=3, cutoff=0.5)
    return f". Did you mean {' or '.join(near)}?" if near else ""


def _add(row: ModelSpec) -> None:
    if row.name in _rows:
        raise ValueError(f"model names must be unique; {row.name!r} is taken by module {_rows[row.name].module!r}")
    if not re.fullmatch(r"\w+", row.name):
        raise ValueError(f"model names are letters, digits and underscores; got {row.name!r}")
    row.merge(row.model_kwargs)
    _rows[row.name] = row


def register_models(builder: Callable, rows: Mapping[str, Mapping[str, Any]], task: str = "semantic") -> None:
    """Register variants of one builder: ``{name: keywords}``.

    Raises:
        ValueError: a taken name, or a keyword that the builder does not take.
    """
    module = builder.__module__.rsplit(".", 1)[-1]
    for name, model_kwargs in rows.items():
        _add(ModelSpec(name, module, builder, model_kwargs, task))


def register_model(builder: Callable) -> Callable:
    """Decorator that registers a function under its own name; what it returns is the model."""
    register_models(builder, {builder.__name__: {}})
    return builder


def split_model_name_tag(model_name: str) -> tuple[str, str]:
    """``"name.tag"`` -> ``("name", "tag")``; the tag is empty if there is none."""
    name, _, tag = model_name.partition(".")
    return name, tag


def _as_list(value: str | Iterable[str]) -> list[str]:
    if isinstance(value, str):
        return [value] if value else []
    return list(value)


def _natural(name: str) -> list:
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", name)]


def list_models(
    filter: str | Iterable[str] = "",
    module: str | Iterable[str] = "",
    pretrained: bool = False,
    exclude_filters: str | Iterable[str] = "",
    include_tags: bool | None = None,
    task: str = "",
) -> list[str]:
    """Names of models, naturally sorted.

    Args:
        filter: wildcards; a name that matches any of them is listed. ``"*gff*"``, ``["dignet*", "fcn*"]``.
        module: only models of these files in ``gatezoo.models``: ``"dignet"``.
        pretrained: only models with weights.
        exclude_filters: wildcards of what to leave out.
        include_tags: list ``name.tag`` for each set of weights; by default when ``pretrained`` is asked for.
        task: only models of this one: "semantic" or "instance".
    """
    include_tags = pretrained if include_tags is None else include_tags
    modules = _as_list(module)
    names = []
    for row in _rows.values():
        tags = [cfg.tag for cfg in of_architecture(row.name)]
        if (modules and row.module not in modules) or (pretrained and not tags) or task not in ("", row.task):
            continue
        names += [f"{row.name}.{tag}" for tag in tags] if include_tags and tags else [row.name]

    def matches(name: str, patterns: list[str]) -> bool:
        # A pattern without a tag speaks for all tags, as in timm.
        return any(
            fnmatch.fnmatchcase(name, p) or ("." not in p and fnmatch.fnmatchcase(name, f"{p}.*")) for p in patterns
        )

    include, exclude = _as_list(filter), _as_list(exclude_filters)
    return sorted((n for n in names if (not include or matches(n, include)) and not matches(n, exclude)), key=_natural)


def list_pretrained(filter: str | Iterable[str] = "", exclude_filters: str | Iterable[str] = "") -> list[str]:
    """``name.tag`` of all published weights that match."""
    return list_models(filter, pretrained=True, exclude_filters=exclude_filters)


def list_modules() -> list[str]:
    """Files of ``gatezoo.models`` that registered something."""
    return sorted({row.module for row in _rows.values()})


def is_model(model_name: str) -> bool:
    """Whether there is such a model; a tag is not looked at."""
    return split_model_name_tag(model_name)[0] in _rows


def get_model_spec(model_name: str) -> ModelSpec:
    """The row of ``name`` or ``name.tag``.

    Raises:
        ValueError: unknown name; the message lists near misses.
    """
    name = split_model_name_tag(model_name)[0]
    if name not in _rows:
        hint = suggest(name, _rows) or ". gatezoo.list_models() lists them"
        raise ValueError(f"model must be one of the {len(_rows)} registered names; got {name!r}{hint}")
    return _rows[name]


def model_entrypoint(model_name: str) -> Callable:
    """The function that builds a model with random weights: ``model_entrypoint(name)(num_classes=7)``."""
    row = get_model_spec(model_name)

    @functools.wraps(row.builder)
    def build(**model_kwargs):
        return row.builder(**row.merge(model_kwargs))

    return build


def get_pretrained_cfg(model_name: str) -> PretrainedCfg | None:
    """What is known of the weights of ``name.tag`` (or of a name's first tag); None if it has none.

    Raises:
        ValueError: unknown name or tag.
    """
    name, tag = split_model_name_tag(model_name)
    get_model_spec(name)
    cfgs = {cfg.tag: cfg for cfg in of_architecture(name)}
    if tag and tag not in cfgs:
        raise ValueError(f"weights of {name} have the tags {', '.join(cfgs) or '(none)'}; got {tag!r}")
    return cfgs[tag] if tag else next(iter(cfgs.values()), None)


def is_model_pretrained(model_name: str) -> bool:
    """Whether a model has published weights."""
    return bool(of_architecture(split_model_name_tag(model_name)[0]))
