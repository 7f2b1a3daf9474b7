"""Where a name becomes a model."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from typing import Any

import torch

from . import hub
from .pretrained import PretrainedCfg
from .registry import ModelSpec, get_model_spec, get_pretrained_cfg, is_model, list_models, list_pretrained
from .segmenters.base import BaseSegmenter
from .utils.environment import versions
from .weights.checkpoint_files import checkpoint_facts, read_checkpoint
from .weights.config import CONFIG, MAX_PARAMETERS, WEIGHTS, read_config, read_model_folder
from .weights.conversions import convert_state_dict, version_hint
from .weights.loading import LoadReport, cfg_of_checkpoint, load_tensors, no_init_weights
from .weights.sources import resolve_weights


def create_model(
    model_name: str,
    pretrained: bool = False,
    *,
    num_classes: int | None = None,
    in_chans: int | None = None,
    backbone: str | None = None,
    iterations: int | None = None,
    checkpoint_path: str | os.PathLike | None = None,
    cache_dir: str | os.PathLike | None = None,
    pretrained_backbone: bool | str | None = None,
    **model_kwargs: Any,
) -> BaseSegmenter:
    """A network by name.

    Keywords that are None are as if not given, so that command lines can pass all of theirs.

    Args:
        model_name: ``name`` or ``name.tag``; the tag chooses the weights, by default the first of the name. Or
            ``local-dir:FOLDER``, a folder that ``save_pretrained`` wrote, or ``hf-hub:org/repo`` with such files, at a
            branch, tag or commit with ``@revision`` (a 40-hex commit that is cached asks nothing of the hub).
        pretrained: load the weights, too, and not the network alone.
        num_classes: classes; default those of the weights, 21 without. Another number gives a new classifier.
        in_chans: channels of the images; another number than the weights' adapts the first convolution.
        backbone: another timm model below the same gates.
        iterations: passes of an unrolled network.
        checkpoint_path: a local safetensors file, as ``gatezoo train`` writes them, in place of published weights; or
            a ``.pth`` that holds tensors and nothing that could run.
        cache_dir: where downloads are kept.
        pretrained_backbone: True for timm's ImageNet weights (network), or a local file of them.
        keywords: further keywords of the model's builder; ``gatezoo info NAME`` lists them.

    Returns:
        The network, in training mode as timm's are. ``load_report`` says what was loaded and ``pretrained_cfg``
        what the weights expect (mean, std), with class names and palette.

    Raises:
        ValueError: an unknown name, tag or keyword, or weights that do not exist or fit; each says what would do.
    """
    row, cfg, saved = parse_model_source(model_name, cache_dir)
    told = dict(
        num_classes=num_classes,
        in_chans=in_chans,
        backbone=backbone,
        iterations=iterations,
        pretrained_backbone=pretrained_backbone,
        **model_kwargs,
    )
    told = {key: value for key, value in told.items() if value is not None}
    if num_classes is not None and num_classes < 1:
        raise ValueError(f"num_classes must be at least 1; got {num_classes}")
    if pretrained and checkpoint_path:
        raise ValueError("weights must come from one place; got pretrained=True and a checkpoint_path: leave one out")
    if pretrained and cfg is None:
        raise ValueError(
            f"{row.name} has no published weights yet; pretrained=False gives random ones, "
            f"and these have some: {', '.join(list_pretrained())}"
        )
    tensors = None
    if pretrained or checkpoint_path:
        own = saved.get("backbone", row.model_kwargs.get("backbone"))
        if pretrained and told.get("backbone", own) != own:
            raise ValueError(f"weights of {cfg.name} are for backbone {own!r}; got {backbone!r}")
        tensors, facts = read_checkpoint(checkpoint_path or resolve_weights(cfg, cache_dir))
        if checkpoint_path:
            cfg = cfg_of_checkpoint(checkpoint_path, facts, cfg)
            told = facts.get("model_kwargs", {}) | told
        # What the weights hold is the default; a backbone's own weights would be overwritten.
        told.pop("pretrained_backbone", None)
        if cfg:
            told = {"num_classes": cfg.num_classes, "in_chans": cfg.in_chans, **told}
    arguments = row.merge(saved | told)
    if saved:
        _check_size(row, saved)
    resized = bool(cfg) and (told.get("num_classes"), told.get("in_chans")) != (cfg.num_classes, cfg.in_chans)
    with no_init_weights() if tensors and not resized else contextlib.nullcontext():
        model = row.builder(**arguments)
    model.architecture = row.name
    model.model_kwargs = {key: value for key, value in arguments.items() if key != "pretrained_backbone"}
    model.pretrained_cfg = cfg if tensors else None
    if tensors:
        tensors = convert_state_dict(tensors, row.module, cfg.format_version) if cfg else tensors
        try:
            model.load_report = load_tensors(model, tensors, resized)
        except ValueError as error:
            raise ValueError(f"{error}{version_hint(cfg.versions if cfg else {}, versions())}") from None
    return model


def from_pretrained(source: str | os.PathLike, **model_kwargs: Any) -> BaseSegmenter:
    """The network of a model folder or a repository, with its weights.

    Args:
        source: a folder, ``org/repo`` or ``org/repo@revision`` on the Hub, or any name that ``create_model`` takes.
        keywords: those of :func:`create_model`.
    """
    source = os.fspath(source)
    if ":" not in source and (os.path.isdir(source) or "/" in source):
        source = f"local-dir:{source}" if os.path.isdir(source) else f"hf-hub:{source}"
    return create_model(source, pretrained=True, **model_kwargs)


def resolve_pretrained_cfg(model_name: str, cache_dir: str | os.PathLike | None = None) -> PretrainedCfg:
    """The entry of the weights that a name of :func:`create_model` stands for; of a repository only this is fetched.

    Raises:
        ValueError: a name that has none, and what :func:`create_model` refuses.
    """
    row, cfg, _ = parse_model_source(model_name, cache_dir)
    if cfg is None:
        raise ValueError(f"{row.name} has no published weights yet; these have: {', '.join(list_pretrained())}")
    return cfg


def parse_model_source(
    model_name: str, cache_dir: str | os.PathLike | None
) -> tuple[ModelSpec, PretrainedCfg | None, dict[str, Any]]:
    """The row that a name speaks of, the entry of its weights, and keywords of the builder that came with them."""
    scheme, colon, rest = model_name.partition(":")
    if not colon and "/" not in model_name:
        return get_model_spec(model_name), get_pretrained_cfg(model_name), {}
    scheme = scheme.lower().replace("_", "-")
    if scheme == "local-dir" and rest:
        return read_model_folder(rest)
    if scheme != "hf-hub" or not rest:
        raise ValueError(
            f"a model is NAME, NAME.TAG, local-dir:FOLDER or hf-hub:ORG/REPO[@REVISION]; got {model_name!r}"
        )
    repo, _, revision = rest.partition("@")
    commit = hub.resolve(repo, revision or None, cache_dir)
    return read_config(hub.fetch(repo, commit, CONFIG, cache_dir), f"hf-hub:{repo}@{commit}/{WEIGHTS}")


def _check_size(row: ModelSpec, saved: dict[str, Any]) -> None:
    """Refuse keywords that a configuration brought and that make no network, or one that no file could fill."""
    # Those that a row's users commonly change are bounded by themselves.
    common = {"num_classes": 1000, "in_chans": 16, "iterations": 100, "loops": 99}
    changed = row.non_default_kwargs(
        {key: tuple(value) if isinstance(value, list) else value for key, value in saved.items()}
    )
    if all(key in common and value <= common[key] for key, value in changed.items()):
        return
    try:
        # On the meta device numbers take neither memory nor time. More than two passes would show no more than two do.
        few = {key: min(2, saved[key]) for key in ("iterations", "loops") if key in saved}
        with torch.device("meta"), torch.no_grad():
            model = row.builder(**row.merge(saved | few)).eval()
            count = sum(parameter.numel() for parameter in model.parameters())
            if count <= MAX_PARAMETERS:
                model.raw_outputs(torch.empty(1, model.in_chans, 64, 64))
    except (ValueError, TypeError, RuntimeError, AssertionError, LookupError, AttributeError, OverflowError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ValueError(f"model_args of a configuration must make a {row.name}; they do not: {reason}") from None
    if count > MAX_PARAMETERS:
        raise ValueError(
            f"model_args of a configuration must make a network of at most {MAX_PARAMETERS} parameters; got {count}"
        )


def load_model(name: str, checkpoint_path: str | os.PathLike | None = None, **model_kwargs: Any) -> BaseSegmenter:
    """A network with weights, as command lines name it.

    Args:
        name: a model, with its published weights or those of a checkpoint; or a .safetensors file that
            ``gatezoo train`` wrote, whose header names the model.
        checkpoint_path: weights in place of published ones.
        keywords: those of :func:`create_model`, in place of what the weights were made with.

    Raises:
        ValueError: two checkpoints, a file whose header names no model, and what :func:`create_model` refuses.
    """
    if name.endswith(".safetensors"):
        if checkpoint_path:
            raise ValueError(f"weights must come from one file; got {name} and {checkpoint_path}: leave one out")
        model = checkpoint_facts(name).get("model")
        if model is None:
            raise ValueError(f"the header of a checkpoint must name its model; {name} does not: add it with NAME")
        name, checkpoint_path = model, name
    return create_model(name, pretrained=checkpoint_path is None, checkpoint_path=checkpoint_path, **model_kwargs)


def load_checkpoint(model: BaseSegmenter, path: str | os.PathLike, strict: bool = True) -> LoadReport:
    """Load a safetensors file into a network that exists.

    Args:
        strict: refuse missing and unexpected tensors, and other shapes. Without, what fits is loaded: an
            initialisation from another network of the zoo.
    """
    tensors, facts = read_checkpoint(path)
    if is_model(facts.get("model", "")):
        tensors = convert_state_dict(tensors, get_model_spec(facts["model"]).module, facts.get("format_version", 1))
    tensors = tensors if strict else model.init_missing(tensors)
    model.load_report = load_tensors(model, tensors, resized=not strict, strict=strict)
    return model.load_report


def hub_entrypoints() -> dict[str, Callable[..., BaseSegmenter]]:
    """For torch.hub: a function for each model, ``NAME(pretrained=False, **keywords of create_model)``."""

    def entrypoint(name: str) -> Callable[..., BaseSegmenter]:
        def create(pretrained: bool = False, **model_kwargs: Any) -> BaseSegmenter:
            return create_model(name, pretrained, **model_kwargs)

        create.__name__ = name
        create.__doc__ = f"{name}(pretrained=False, num_classes=None, ...)\n\n{get_model_spec(name).builder.__doc__}"
        return create

    return {name: entrypoint(name) for name in list_models()}
