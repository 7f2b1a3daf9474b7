"""Networks and the tensors of files: place them, say what was done."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from ..backbones.base import adapt_input_conv
from ..pretrained import PretrainedCfg
from ..segmenters.base import BaseSegmenter

aten = torch.ops.aten


@dataclass
class LoadReport:
    """What loading weights did, by names of tensors. ``str()`` of it is one line.

    Attributes:
        loaded: taken over as they are.
        adapted: first convolutions fitted to another number of channels.
        reinitialised: of another shape than the checkpoint's (other classes or channels): left as initialised.
        missing: not in the checkpoint, left as initialised. Only without ``strict``.
        unexpected: only in the checkpoint, left out. Only without ``strict``.
    """

    loaded: list[str] = field(default_factory=list)
    adapted: list[str] = field(default_factory=list)
    reinitialised: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        parts = [f"{len(self.loaded)} loaded"]
        for kind in ("adapted", "reinitialised", "missing", "unexpected"):
            names = getattr(self, kind)
            parts += (
                [f"{len(names)} {kind} ({', '.join(names[:3])}{', ...' if len(names) > 3 else ''})"] if names else []
            )
        return ", ".join(parts)


class no_init_weights(TorchDispatchMode):
    """Context in which random initialisation does nothing: for networks whose every tensor is about to be replaced."""

    _random = frozenset({aten.uniform_.default, aten.normal_.default, aten.erfinv_.default, aten.bernoulli_.float})

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        return args[0] if func in self._random else func(*args, **(kwargs or {}))


def load_tensors(
    model: BaseSegmenter, tensors: dict[str, Tensor], resized: bool = False, strict: bool = True
) -> LoadReport:
    """Place tensors in a network, as float32, without a copy where the file has float32 too.

    Args:
        resized: the network has other classes or channels than the checkpoint: tensors of another shape stay as
            initialised, and a first convolution is adapted (the colours summed or repeated).
        strict: refuse missing and unexpected names.

    Raises:
        ValueError: names or shapes that do not fit, and are not allowed to differ.
    """
    own = model.state_dict()
    report = LoadReport(
        missing=[key for key in own if key not in tensors], unexpected=[key for key in tensors if key not in own]
    )
    if strict and (report.missing or report.unexpected):
        raise ValueError(f"the tensors of a checkpoint must be those of the network; {report}: is it another model's?")
    state = {}
    for key in own.keys() & tensors.keys():
        tensor, shape = tensors[key].to(own[key].dtype), own[key].shape
        if tensor.shape == shape:
            report.loaded.append(key)
        elif not resized:
            raise ValueError(
                f"tensor {key} must be {tuple(shape)} as in the network; the checkpoint has {tuple(tensor.shape)}: "
                "give the checkpoint's num_classes and in_chans, or leave them to it"
            )
        elif key.startswith("backbone.") and tensor.ndim == 4 and shape[1] == model.in_chans:
            tensor = adapt_input_conv(model.in_chans, tensor)
            report.adapted.append(key)
        else:
            report.reinitialised.append(key)
            continue
        state[key] = tensor
    model.load_state_dict(state, strict=False, assign=True)
    return report


def cfg_of_checkpoint(
    path: str | os.PathLike, facts: dict[str, Any], fallback: PretrainedCfg | None
) -> PretrainedCfg | None:
    """What the header of a trained checkpoint tells; for bare weights, what is known of the tag they are loaded for."""
    if "model" not in facts:
        return fallback
    known = ("num_classes", "mean", "std", "class_names", "palette", "in_chans", "ignore_index", "recipe")
    known += ("versions", "format_version", "train_data", "license", "data_license")
    told = {key: facts[key] for key in known if key in facts}
    return PretrainedCfg(architecture=facts["model"], tag="local", file=str(path), **told)
