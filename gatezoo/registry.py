"""Register models under names, and find them. A leaf of the package: nothing here needs torch."""

from __future__ import annotations

import fnmatch
import functools
import inspect
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from .backbones.spec import KEYWORD_HELP, KEYWORDS, BackboneSpec, flat_signature, takes_backbone_spec
from .pretrained import PretrainedCfg, of_architecture
from .utils.choices import check_choice, suggest, suggest_keyword
from .utils.keyword_types import as_tuples, check_keyword, drop_unset
from .utils.text import shorten

# Keywords that change neither the gates nor the layers between them.
_COMMON_KEYWORDS = ("num_classes", "in_chans", "freeze_bn")


@dataclass(frozen=True)
class ModelSpec:
    """A registered model: a builder, and the keywords that make it this variant.

    Users give all keywords flat. A builder with a parameter ``backbone: BackboneSpec`` gets those of the backbone
    (``backbone``, ``output_stride``, ``in_chans``, ``pretrained_backbone``, ``backbone_args``) folded into it; any
    other builder gets every keyword as it is.

    Attributes:
        name: letters, digits and underscores.
        family: the module of :mod:`gatezoo.models` that the model belongs to; tensors of old checkpoints are renamed
            family by family.
        builder: function from keywords to the model.
        model_kwargs: flat keywords of the variant.
        task: "semantic" (a class for every pixel) or "instance" (instances with a class, a box and a mask).
        paper: its title, authors and year.
        output_stride: default of that keyword; None if the builder needs all strides and there is no such keyword.
        retired_kwargs: keywords that the builder no longer takes, with the value that is built in now. Files that
            hold them with this value remain valid.
    """

    name: str
    family: str
    builder: Callable[..., Any]
    model_kwargs: Mapping[str, Any]
    task: str = "semantic"
    paper: str = ""
    output_stride: int | None = 32
    retired_kwargs: Mapping[str, Any] = field(default_factory=dict)

    @functools.cached_property
    def signature(self) -> inspect.Signature:
        """Signature of the builder with the keywords of the backbone in place of the :class:`BackboneSpec`."""
        return flat_signature(inspect.signature(self.builder), self.output_stride)

    def parameters(self) -> dict[str, Any]:
        """Return the default of each keyword; ``inspect.Parameter.empty`` where there is none."""
        parameters = self.signature.parameters.values()
        return {p.name: p.default for p in parameters if p.kind is not p.VAR_KEYWORD}

    def parameter_names(self) -> list[str]:
        """Return the names of the accepted keywords; an empty list if the builder accepts any."""
        accepts_any = any(p.kind is p.VAR_KEYWORD for p in self.signature.parameters.values())
        return [] if accepts_any else list(self.parameters())

    def documentation(self) -> str:
        """Return the builder's docstring, followed by the keywords of the backbone that all models share."""
        text = inspect.getdoc(self.builder) or ""
        if not takes_backbone_spec(inspect.signature(self.builder)):
            return text
        shared = [f"    {key}: {KEYWORD_HELP[key]}" for key in self.signature.parameters if key in KEYWORD_HELP]
        return "\n".join([text, "", "Keywords of the backbone:", *shared])

    def merge(self, overrides: Mapping[str, Any]) -> dict[str, Any]:
        """Return the variant's keywords, overridden by the caller's.

        Another backbone drops the variant's ``backbone_args``, which are of the backbone it replaces.

        Raises:
            ValueError: a keyword that the model does not take.
        """
        accepted = self.parameter_names()
        model_kwargs, changed = dict(self.model_kwargs), dict(overrides)
        for key, value in overrides.items():
            if key in self.retired_kwargs:
                if value != self.retired_kwargs[key]:
                    raise ValueError(
                        f"{key} of {self.name} must be {self.retired_kwargs[key]!r}, which is built in; got {value!r}: "
                        f"choose a model that has it, gatezoo.list_models() lists them"
                    )
                del changed[key]
            elif accepted and key not in accepted:
                raise ValueError(
                    f"{self.name} takes the keywords {', '.join(accepted)}; got {key!r}{suggest_keyword(key, accepted)}"
                )
        if changed.get("backbone", model_kwargs.get("backbone")) != model_kwargs.get("backbone"):
            model_kwargs.pop("backbone_args", None)
        return model_kwargs | changed

    def validate(self, model_kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """Return flat keywords, those of :meth:`merge`; raise ValueError if a value is not of the annotated type."""
        known, given = self.signature.parameters, model_kwargs.items()
        return {key: check_keyword(key, v, known[key].annotation) if key in known else v for key, v in given}

    def build(self, **model_kwargs: Any) -> Any:
        """Build the model from flat keywords, those of :meth:`merge`."""
        model_kwargs = self.validate(model_kwargs)
        if not takes_backbone_spec(inspect.signature(self.builder)):
            return self.builder(**model_kwargs)
        if "backbone" not in model_kwargs:
            raise ValueError(f"backbone of {self.name} must be given; got none: pass backbone=NAME of a timm model")
        options: dict[str, Any] = {} if self.output_stride is None else {"output_stride": self.output_stride}
        options |= {KEYWORDS[key]: model_kwargs.pop(key) for key in KEYWORDS if key in model_kwargs}
        return self.builder(BackboneSpec(**options), **model_kwargs)

    def non_default_kwargs(self, model_kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """Return the keywords whose values are not the model's defaults."""
        known = as_tuples({**self.parameters(), **self.retired_kwargs, **self.model_kwargs})
        return {key: v for key, v in model_kwargs.items() if key not in known or known[key] != as_tuples(v)}

    def architecture_kwargs(self, model_kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """Return the non-default keywords that change the architecture.

        ``num_classes``, ``in_chans`` and ``freeze_bn`` are left out.
        """
        changed = self.non_default_kwargs(model_kwargs)
        return {key: value for key, value in changed.items() if key not in _COMMON_KEYWORDS}


_specs: dict[str, ModelSpec] = {}


def _add(spec: ModelSpec) -> None:
    if spec.name in _specs:
        raise ValueError(
            f"model names must be unique; {spec.name!r} is taken by module {_specs[spec.name].family!r}: "
            "choose another name"
        )
    if not re.fullmatch(r"\w+", spec.name):
        raise ValueError(f"model names must be letters, digits and underscores; got {spec.name!r}: choose another name")
    spec.merge(spec.model_kwargs)
    _specs[spec.name] = spec


def register_models(
    builder: Callable[..., Any],
    variants: Mapping[str, Mapping[str, Any]],
    *,
    family: str = "",
    paper: str = "",
    task: str = "semantic",
    output_stride: int | None = 32,
    retired_kwargs: Mapping[str, Any] | None = None,
) -> None:
    """Register variants of one builder.

    Args:
        builder: function from keywords to a model; with a parameter ``backbone: BackboneSpec``, see :class:`ModelSpec`.
        variants: flat keywords of each, by the name of the model.
        family, paper, task, output_stride, retired_kwargs: attributes of :class:`ModelSpec`; ``family`` is by default
            the module of the builder.

    Raises:
        ValueError: a taken name, or a keyword that the builder does not take.
    """
    family = family or builder.__module__.rsplit(".", 1)[-1]
    for name, model_kwargs in variants.items():
        _add(ModelSpec(name, family, builder, model_kwargs, task, paper, output_stride, retired_kwargs or {}))


def register_model(builder: Callable[..., Any]) -> Callable[..., Any]:
    """Register a function under its own name, as a decorator; what it returns is the model."""
    register_models(builder, {builder.__name__: {}})
    return builder


def split_model_name_tag(model_name: str) -> tuple[str, str]:
    """Split ``"name.tag"`` into ``("name", "tag")``; the tag is empty if there is none. ValueError if not a text."""
    if not isinstance(model_name, str):
        raise ValueError(f"a model must be a name; got {shorten(model_name)}: gatezoo.list_models() lists them")
    name, _, tag = model_name.partition(".")
    return name, tag


def _as_list(argument: str, value: str | Iterable[str]) -> list[str]:
    if isinstance(value, str):
        return [value] if value else []
    items = list(value) if isinstance(value, Iterable) else [value]
    if not all(isinstance(item, str) for item in items):
        raise ValueError(f"{argument} must be a text or a list of texts; got {shorten(value)}")
    return items


def _natural_key(name: str) -> list[int | str]:
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", name)]


def list_models(
    filter: str | Iterable[str] = "",
    module: str | Iterable[str] = "",
    pretrained: bool = False,
    exclude_filters: str | Iterable[str] = "",
    include_tags: bool | None = None,
    task: str = "",
) -> list[str]:
    """Return the names of models, in natural order.

    Args:
        filter: wildcards; a name that matches any of them is listed. ``"*gff*"``, ``["dignet*", "fcn*"]``.
        module: only models of these modules of :mod:`gatezoo.models`: ``"dignet"``.
        pretrained: only models with weights.
        exclude_filters: wildcards; a name that matches any of them is left out.
        include_tags: list ``name.tag`` for each set of weights; by default if ``pretrained`` is True.
        task: only models of this task: "semantic" or "instance".

    Raises:
        ValueError: an argument of another type, or another task.
    """
    include_tags = pretrained if include_tags is None else include_tags
    modules = _as_list("module", module)
    include, exclude = _as_list("filter", filter), _as_list("exclude_filters", exclude_filters)
    if task:
        check_choice("task", task, {spec.task: None for spec in _specs.values()})
    names = []
    for spec in _specs.values():
        tags = [cfg.tag for cfg in of_architecture(spec.name)]
        if (modules and spec.family not in modules) or (pretrained and not tags) or task not in ("", spec.task):
            continue
        names += [f"{spec.name}.{tag}" for tag in tags] if include_tags and tags else [spec.name]

    def matches(name: str, patterns: list[str]) -> bool:
        # A pattern without a tag matches all tags, as in timm.
        return any(
            fnmatch.fnmatchcase(name, p) or ("." not in p and fnmatch.fnmatchcase(name, f"{p}.*")) for p in patterns
        )

    found = [name for name in names if (not include or matches(name, include)) and not matches(name, exclude)]
    return sorted(found, key=_natural_key)


def list_pretrained(filter: str | Iterable[str] = "", exclude_filters: str | Iterable[str] = "") -> list[str]:
    """Return ``name.tag`` of all published weights that match."""
    return list_models(filter, pretrained=True, exclude_filters=exclude_filters)


def list_modules() -> list[str]:
    """Return the modules of :mod:`gatezoo.models` that registered a model."""
    return sorted({spec.family for spec in _specs.values()})


def is_model(model_name: str) -> bool:
    """Return whether there is such a model; a tag is ignored."""
    return split_model_name_tag(model_name)[0] in _specs


def get_model_spec(model_name: str) -> ModelSpec:
    """Return the specification of ``name`` or ``name.tag``.

    Raises:
        ValueError: an unknown name; the message suggests similar ones.
    """
    name = split_model_name_tag(model_name)[0]
    if name not in _specs:
        hint = suggest(name, _specs) or ". gatezoo.list_models() lists them"
        raise ValueError(f"model must be one of the {len(_specs)} registered names; got {name!r}{hint}")
    return _specs[name]


def model_entrypoint(model_name: str) -> Callable[..., Any]:
    """Return the function that builds a model with random weights: ``model_entrypoint(name)(num_classes=7)``."""
    spec = get_model_spec(model_name)

    @functools.wraps(spec.builder)
    def build(**model_kwargs: Any) -> Any:
        return spec.build(**spec.merge(drop_unset(model_kwargs, spec.signature)))

    build.__doc__ = spec.documentation()
    build.__signature__ = spec.signature  # type: ignore[attr-defined]
    return build


def get_pretrained_cfg(model_name: str) -> PretrainedCfg | None:
    """Return the pretrained config of ``name.tag``, or of the name's first tag; None if it has no weights.

    Raises:
        ValueError: an unknown name or tag.
    """
    name, tag = split_model_name_tag(model_name)
    get_model_spec(name)
    cfgs = {cfg.tag: cfg for cfg in of_architecture(name)}
    if tag and tag not in cfgs:
        raise ValueError(f"weights of {name} have the tags {', '.join(cfgs) or '(none)'}; got {tag!r}")
    return cfgs[tag] if tag else next(iter(cfgs.values()), None)


def is_model_pretrained(model_name: str) -> bool:
    """Return whether a model has published weights."""
    return bool(of_architecture(split_model_name_tag(model_name)[0]))
