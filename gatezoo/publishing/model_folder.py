"""Save a network as a self-contained folder: ``config.json``, ``model.safetensors`` and a model card."""

from __future__ import annotations

import dataclasses
import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from safetensors.torch import save

from ..layers.normalize import channel_stats
from ..pretrained import PretrainedCfg
from ..registry import get_model_spec
from ..segmenters.base import BaseSegmenter
from ..utils.environment import versions
from ..utils.files import ensure_dir, write_bytes, write_json, write_text
from ..utils.text import require_plain_text, shorten
from ..weights.config import CARD, CONFIG, WEIGHTS, make_config
from ..weights.integrity import keys_sha256
from .model_card import render_model_card


def save_pretrained(
    model: BaseSegmenter,
    folder: str | os.PathLike,
    class_names: Sequence[str] | None = None,
    license: str | None = None,
) -> Path:
    """Save a network that ``create_model`` made, trained or not, for ``create_model("local-dir:FOLDER")``.

    The folder holds the name of the model, all keywords of its builder and the config of its weights; loading it
    needs no network access. Existing files are replaced, each atomically.

    Args:
        model: the network.
        folder: to write to.
        class_names: default: those of the weights, unless the network was given another number of classes.
        license: of the weights; default: that of the weights it was made from.

    Returns:
        The folder.

    Raises:
        ValueError: a network that is not registered, another number of names than classes, names with control
            characters, or a folder that cannot be written.
    """
    cfg = make_pretrained_cfg(model, class_names)
    if license is not None:
        cfg = dataclasses.replace(cfg, license=license)
    tensors = {key: value.detach().cpu().contiguous() for key, value in model.state_dict().items()}
    write_model_folder(folder, model.model_kwargs, cfg, save(tensors), "local-dir:THIS_FOLDER")
    return Path(folder)


def make_pretrained_cfg(model: BaseSegmenter, class_names: Sequence[str] | None = None) -> PretrainedCfg:
    """Return the config of a network's weights, but for their file.

    Raises as :func:`save_pretrained` does.
    """
    architecture = _architecture_of(model)
    if class_names is not None and len(class_names) != model.num_classes:
        raise ValueError(f"class_names must be one for each of {model.num_classes} classes; got {len(class_names)}")
    require_plain_text("class names", class_names or ())
    old, expected = model.pretrained_cfg, model.data_config
    mean, std = map(tuple, channel_stats(expected.mean, expected.std, model.in_chans))
    cfg = PretrainedCfg(architecture, "local", model.num_classes, mean, std, in_chans=model.in_chans)
    if old and old.num_classes == model.num_classes:
        cfg = dataclasses.replace(old, architecture=architecture, mean=mean, std=std, in_chans=model.in_chans)
    elif old:
        # With a new classifier, the facts about the pretrained weights no longer hold, but for their license.
        cfg = dataclasses.replace(cfg, license=old.license, base_model=old.describe_as_base())
    if class_names is not None:
        cfg = dataclasses.replace(cfg, class_names=tuple(class_names))
    shapes = {key: tuple(value.shape) for key, value in model.state_dict().items()}
    return dataclasses.replace(cfg, versions=versions(), keys_sha256=keys_sha256(shapes))


def write_model_folder(
    folder: str | os.PathLike,
    model_kwargs: Mapping[str, Any],
    cfg: PretrainedCfg,
    weights_bytes: bytes,
    source: str,
    name: str | None = None,
    figure: str | None = None,
) -> PretrainedCfg:
    """Write the three files, each atomically, and return the config with size and sha256.

    Args:
        folder: to write to.
        model_kwargs: keywords of the builder.
        cfg: of the weights; size and sha256 are added.
        weights_bytes: content of the weights file.
        source: argument of ``create_model`` that the card shows.
        name: of the weights, for the card; default: the architecture.
        figure: file beside the card that it shows; default: none.

    Raises:
        ValueError: content that could not be read back, or a folder that cannot be written.
    """
    folder = Path(folder)
    digest = hashlib.sha256(weights_bytes).hexdigest()
    cfg = dataclasses.replace(cfg, size=len(weights_bytes), sha256=digest)
    config = make_config(model_kwargs, cfg)
    ensure_dir(folder)
    write_bytes(folder / WEIGHTS, weights_bytes)
    write_json(folder / CONFIG, config)
    task = get_model_spec(cfg.architecture).task
    card = render_model_card(config, name or cfg.architecture, source, task, figure)
    write_text(folder / CARD, card)
    return cfg


def _architecture_of(model: BaseSegmenter) -> str:
    if not isinstance(model, BaseSegmenter):
        raise ValueError(f"model must be a network of the zoo; got {shorten(model)}: use gatezoo.create_model")
    if model.architecture is None:
        raise ValueError(
            "a saved network must have the name of a registered model; this one has none: use gatezoo.create_model"
        )
    return model.architecture
