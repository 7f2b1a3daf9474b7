"""Create models by name, with or without weights."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Mapping
from typing import Any

from .pretrained import PretrainedCfg, of_architecture
from .registry import ModelSpec, get_model_spec, is_model, list_models, list_pretrained
from .segmenters.base import BaseSegmenter
from .utils.keyword_types import drop_unset
from .utils.text import first_line, shorten
from .weights.checkpoint_files import checkpoint_metadata, read_checkpoint
from .weights.conversions import convert_state_dict
from .weights.header import saved_kwargs
from .weights.loaded import LoadedWeights
from .weights.loading import LoadReport, load_tensors, no_init_weights
from .weights.model_size import check_bounds, check_model_size
from .weights.model_source import parse_model_source
from .weights.sources import resolve_weights


def create_model(
    model_name: str | os.PathLike,
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
    """Create a network by name.

    None counts as not given, so that command lines can pass all of theirs, but where it is a value: of further keywords
    of a model whose annotation names it, such as RIGNet's ``blocks``. ``on_meta`` and ``info`` read it alike.

    Args:
        model_name: ``name`` or ``name.tag``; the tag chooses the weights, by default the first of the name. Or
            ``local-dir:FOLDER``, a folder that ``save_pretrained`` wrote, or ``hf-hub:org/repo`` with such files, at a
            branch, tag or commit with ``@revision`` (a cached 40-hex commit needs no request to the Hub). The path of
            an existing model folder is enough, too.
        pretrained: load the weights too.
        num_classes: number of classes; by default that of the weights, without weights the model's own. Another number
            gives a new classifier.
        in_chans: channels of the images; another number than the weights' adapts the first convolution.
        backbone: another timm model below the same gates.
        iterations: passes of an unrolled network.
        checkpoint_path: a local safetensors file, as ``gatezoo train`` writes them, in place of published weights; or
            a ``.pth`` file that holds tensors and nothing that could run.
        cache_dir: folder of downloads.
        pretrained_backbone: True for timm's ImageNet weights (downloaded), or a local file of them.
        model_kwargs: further keywords of the model; ``gatezoo info NAME`` lists them.

    Returns:
        The network, in training mode as timm's are. ``load_report`` lists what was loaded; ``pretrained_cfg`` contains
        what the weights expect (mean, std), class names and palette.

    Raises:
        ValueError: an unknown name, tag or keyword, or weights that do not exist or do not fit.
    """
    if not isinstance(pretrained, bool):
        raise ValueError(f"pretrained must be True or False; got {shorten(pretrained)}: NAME.TAG chooses the weights")
    options = dict(
        num_classes=num_classes,
        in_chans=in_chans,
        backbone=backbone,
        iterations=iterations,
        pretrained_backbone=pretrained_backbone,
    )
    spec, cfg, saved = parse_model_source(model_name, cache_dir)
    given = {key: value for key, value in options.items() if value is not None}
    given |= drop_unset(model_kwargs, spec.signature)
    spec.merge(given)  # unknown keywords are refused before weights are read
    weights = _read_weights(spec, cfg, saved, given, pretrained, checkpoint_path, cache_dir)
    merged = _merge_kwargs(spec, saved, weights, given)
    model = _build(spec, merged, initialize=weights is None or weights.is_resized(merged))
    return weights.load_into(model, spec.family) if weights else model


def _read_weights(
    spec: ModelSpec,
    cfg: PretrainedCfg | None,
    saved: Mapping[str, Any],
    given: Mapping[str, Any],
    pretrained: bool,
    checkpoint_path: str | os.PathLike | None,
    cache_dir: str | os.PathLike | None,
) -> LoadedWeights | None:
    """Read published weights or a checkpoint; None if neither is asked for."""
    if pretrained and checkpoint_path:
        raise ValueError("weights must come from one place; got pretrained=True and a checkpoint_path: leave one out")
    if pretrained:
        cfg = _require_weights(spec, cfg, saved, given)
        return LoadedWeights(read_checkpoint(resolve_weights(cfg, cache_dir))[0], cfg)
    if checkpoint_path:
        state_dict, metadata = read_checkpoint(checkpoint_path)
        header = saved_kwargs(checkpoint_path, spec, metadata)
        cfg = PretrainedCfg.from_checkpoint(checkpoint_path, metadata, cfg)
        return LoadedWeights(state_dict, cfg, {**saved, **header})
    return None


def _merge_kwargs(
    spec: ModelSpec, saved: Mapping[str, Any], weights: LoadedWeights | None, given: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the keywords of a network, checked: the user's, those of the weights, those saved, the model's own."""
    chosen = {**(weights.kwargs() if weights else {}), **given}
    if weights:
        # The weights include the backbone's.
        chosen.pop("pretrained_backbone", None)
    merged = spec.merge({**saved, **chosen})
    if weights and (saved or weights.saved):
        check_model_size(spec, {**saved, **weights.kwargs()}, weights.count_values())
    elif saved:
        check_model_size(spec, saved)
    merged = spec.validate(merged)
    check_bounds(merged)
    return merged


def _build(spec: ModelSpec, model_kwargs: Mapping[str, Any], initialize: bool) -> BaseSegmenter:
    """Build a network; what torch refuses, such as a negative width or one that no memory holds, is the user's."""
    try:
        with contextlib.nullcontext() if initialize else no_init_weights():
            model = spec.build(**model_kwargs)
    except RuntimeError as error:
        changed = spec.non_default_kwargs(model_kwargs)
        raise ValueError(
            f"the keywords must make a {spec.name}; {shorten(changed, 200)} do not: {first_line(error)}"
        ) from error
    model.architecture = spec.name
    model.model_kwargs = {key: value for key, value in model_kwargs.items() if key != "pretrained_backbone"}
    return model


def rebuild(model: BaseSegmenter, num_classes: int) -> BaseSegmenter:
    """Build a network like another, with random weights and another number of classes.

    Raises:
        ValueError: a network that :func:`create_model` did not make, or a number of classes that it cannot have.
    """
    if model.architecture is None:
        raise ValueError(
            "a network with other classes must have the name of a registered model; this one has none: use "
            "gatezoo.create_model"
        )
    spec = get_model_spec(model.architecture)
    return _build(spec, _merge_kwargs(spec, {}, None, {**model.model_kwargs, "num_classes": num_classes}), True)


def _require_weights(
    spec: ModelSpec, cfg: PretrainedCfg | None, saved: Mapping[str, Any], given: Mapping[str, Any]
) -> PretrainedCfg:
    """Return the config of published weights, which must exist and be of the backbone that is asked for."""
    if cfg is None:
        raise ValueError(
            f"{spec.name} has no published weights yet; pretrained=False gives random ones, "
            f"and these have some: {', '.join(list_pretrained())}"
        )
    backbone = saved.get("backbone", spec.model_kwargs.get("backbone"))
    if given.get("backbone", backbone) != backbone:
        raise ValueError(
            f"backbone must be that of the weights, and those of {cfg.name} are for backbone {backbone!r}; "
            f"got {given['backbone']!r}: leave it out or pass pretrained=False"
        )
    return cfg


def from_pretrained(source: str | os.PathLike, **model_kwargs: Any) -> BaseSegmenter:
    """Create the network of a model folder or a repository, with its weights.

    Args:
        source: a folder, ``org/repo`` or ``org/repo@revision`` on the Hub, or any name that ``create_model`` takes.
        model_kwargs: keywords of :func:`create_model`.
    """
    if not isinstance(source, (str, os.PathLike)):
        raise ValueError(f"a source must be a folder, org/repo or the name of a model; got {shorten(source)}")
    source = os.fspath(source)
    if ":" not in source and (os.path.isdir(source) or "/" in source):
        source = f"local-dir:{source}" if os.path.isdir(source) else f"hf-hub:{source}"
    return create_model(source, pretrained=True, **model_kwargs)


def resolve_pretrained_cfg(model_name: str, cache_dir: str | os.PathLike | None = None) -> PretrainedCfg:
    """Return the pretrained config of a name of :func:`create_model`; of a repository nothing else is fetched.

    Raises:
        ValueError: a name without weights, or one that :func:`create_model` refuses.
    """
    spec, cfg, _ = parse_model_source(model_name, cache_dir)
    if cfg is None:
        raise ValueError(f"{spec.name} has no published weights yet; these have: {', '.join(list_pretrained())}")
    return cfg


def load_model(name: str, checkpoint_path: str | os.PathLike | None = None, **model_kwargs: Any) -> BaseSegmenter:
    """Create a network with weights, as command lines name it.

    Args:
        name: a model, with its published weights or those of a checkpoint; or a .safetensors file that
            ``gatezoo train`` wrote, whose header names the model.
        checkpoint_path: weights in place of published ones.
        model_kwargs: keywords of :func:`create_model`, in place of those that the weights were made with.

    Raises:
        ValueError: two checkpoints, a file whose header names no model, and what :func:`create_model` refuses.
    """
    if isinstance(name, str) and name.endswith(".safetensors"):
        if checkpoint_path:
            raise ValueError(f"weights must come from one file; got {name} and {checkpoint_path}: leave one out")
        model = checkpoint_metadata(name).get("architecture")
        if model is None:
            raise ValueError(
                f"the header of a checkpoint must name its model; {name} does not: pass the model and checkpoint_path"
            )
        name, checkpoint_path = model, name
    return create_model(name, pretrained=checkpoint_path is None, checkpoint_path=checkpoint_path, **model_kwargs)


def load_checkpoint(model: BaseSegmenter, path: str | os.PathLike, strict: bool = True) -> LoadReport:
    """Load a checkpoint into an existing network.

    Args:
        model: the network.
        path: a safetensors file.
        strict: refuse missing and unexpected tensors, and other shapes. Otherwise load those that fit: an
            initialization from another network of the zoo.

    Returns:
        The report, which is also kept as ``model.load_report``.

    Raises:
        ValueError: a file that cannot be read, or tensors that do not fit.
    """
    state_dict, metadata = read_checkpoint(path)
    name = metadata.get("architecture", "")
    if is_model(name):
        state_dict = convert_state_dict(state_dict, get_model_spec(name).family, metadata.get("format_version", 1))
    if not strict:
        state_dict = model.init_missing(state_dict)
    report = load_tensors(model, state_dict, ignore_mismatched_sizes=not strict, strict=strict)
    model.load_report = report
    return report


def hub_entrypoints() -> dict[str, Callable[..., BaseSegmenter]]:
    """Return the functions for torch.hub, one per model: ``NAME(pretrained=False, **keywords of create_model)``."""

    def entrypoint(name: str) -> Callable[..., BaseSegmenter]:
        def create(pretrained: bool = False, **model_kwargs: Any) -> BaseSegmenter:
            return create_model(name, pretrained, **model_kwargs)

        create.__name__ = name
        create.__doc__ = _hub_help(get_model_spec(name))
        return create

    return {name: entrypoint(name) for name in list_models()}


def _hub_help(spec: ModelSpec) -> str:
    """Return what ``torch.hub.help`` prints: how to call the entry point, its weights, and every keyword."""
    weights = [f"{cfg.name}, license {cfg.license}, trained on {cfg.train_data}" for cfg in of_architecture(spec.name)]
    changed = ", ".join(f"{key}={value!r}" for key, value in spec.model_kwargs.items())
    lines = [
        f"{spec.name}(pretrained=False, num_classes=None, ...)",
        "",
        f"{spec.paper}. Weights: {'; '.join(weights) or 'none yet; pretrained must be False'}.",
        f"Keywords of create_model, and those below; this model has {changed}.",
        "",
        spec.documentation(),
    ]
    return "\n".join(lines)
