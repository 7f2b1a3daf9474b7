"""A network as a folder that needs nothing else: ``config.json``, ``model.safetensors`` and a card."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from safetensors.torch import save

from ..registry import get_model_spec
from ..segmenters.base import BaseSegmenter
from ..utils.environment import versions
from ..utils.files import atomic_write, ensure_dir
from ..weights.config import CARD, CONFIG, WEIGHTS, make_config
from ..weights.integrity import keys_sha256, sha256_of
from .model_card import render_model_card


def save_pretrained(
    model: BaseSegmenter,
    folder: str | os.PathLike,
    class_names: Sequence[str] | None = None,
    license: str | None = None,
) -> Path:
    """Write a network that ``create_model`` made, trained or not, for ``create_model("local-dir:FOLDER")``.

    The folder tells the row, all keywords of its builder and what the weights expect; reading it back fetches
    nothing. Files that are there are replaced, each as a whole.

    Args:
        class_names: default: those of the weights, unless the network was given another number of classes.
        license: of the weights; default: that of those it was made from.

    Raises:
        ValueError: a network that is no row of the registry, names that are not one a class, or a folder that cannot
            be written.
    """
    about = make_pretrained_cfg(model, class_names)
    if license is not None:
        about["license"] = license
    tensors = {key: value.detach().cpu().contiguous() for key, value in model.state_dict().items()}
    write_model_folder(folder, model.architecture, model.model_kwargs, about, save(tensors), "local-dir:THIS_FOLDER")
    return Path(folder)


def make_pretrained_cfg(model: BaseSegmenter, class_names: Sequence[str] | None = None) -> dict[str, Any]:
    """What a configuration tells of a network's weights, but for the file. Raises as :func:`save_pretrained` does."""
    if model.architecture is None:
        raise ValueError("a model folder must name a model of the registry; build this one with gatezoo.create_model")
    if class_names is not None and len(class_names) != model.num_classes:
        raise ValueError(f"class_names must be one for each of {model.num_classes} classes; got {len(class_names)}")
    cfg, expected = model.pretrained_cfg, model.data_config
    # What is known of weights whose classifier was made anew is no longer known of these.
    about = cfg.to_dict() if cfg and cfg.num_classes == model.num_classes else {}
    about |= {"mean": expected.mean, "std": expected.std}
    if class_names is not None:
        about["class_names"] = list(class_names)
    about |= {"num_classes": model.num_classes, "in_chans": model.in_chans, "versions": versions()}
    shapes = {key: tuple(value.shape) for key, value in model.state_dict().items()}
    return about | {"keys_sha256": keys_sha256(shapes)}


def write_model_folder(
    folder: str | os.PathLike,
    architecture: str,
    model_kwargs: Mapping[str, Any],
    about: Mapping[str, Any],
    blob: bytes,
    source: str,
    name: str | None = None,
) -> dict[str, Any]:
    """Write the three files, each as a whole; returns the configuration.

    Args:
        blob: bytes of the weights' file.
        source: what ``create_model`` will be given, for the card.
        name: of the weights, for the card; default: the architecture.
    """
    folder = Path(folder)
    ensure_dir(folder)
    atomic_write(folder / WEIGHTS, lambda path: path.write_bytes(blob))
    about = {**about, "size": len(blob), "sha256": sha256_of(folder / WEIGHTS)}
    config = make_config(architecture, model_kwargs, about)
    text = json.dumps(config, indent=1, ensure_ascii=False)
    atomic_write(folder / CONFIG, lambda path: path.write_text(text + "\n", encoding="utf-8"))
    # The card reads what the file says: lists, where the cfg has tuples.
    card = render_model_card(json.loads(text), name or architecture, source, get_model_spec(architecture).task)
    atomic_write(folder / CARD, lambda path: path.write_text(card, encoding="utf-8"))
    return config
