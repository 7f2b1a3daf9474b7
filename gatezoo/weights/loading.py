"""Load tensors into a network and report the result."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from ..backbones.base import adapt_input_conv
from ..segmenters.base import BaseSegmenter

aten = torch.ops.aten


@dataclass
class LoadReport:
    """Result of loading weights, by names of tensors. ``str()`` gives one line.

    Attributes:
        loaded: copied as they are.
        adapted: first convolutions adapted to another number of channels.
        reinitialised: of another shape than in the checkpoint (other classes or channels), left as initialized.
        missing: not in the checkpoint, left as initialized. Only without ``strict``.
        unexpected: only in the checkpoint, ignored. Only without ``strict``.
    """

    loaded: list[str] = field(default_factory=list)
    adapted: list[str] = field(default_factory=list)
    reinitialised: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        parts = [f"{len(self.loaded)} loaded"]
        for kind in ("adapted", "reinitialised", "missing", "unexpected"):
            if names := getattr(self, kind):
                parts.append(f"{len(names)} {kind} ({', '.join(names[:3])}{', ...' if len(names) > 3 else ''})")
        return ", ".join(parts)


class no_init_weights(TorchDispatchMode):  # noqa: N801 - used like a function, as torch.no_grad is
    """Context in which random initialization does nothing, for networks whose tensors are all about to be replaced."""

    _random = frozenset({aten.uniform_.default, aten.normal_.default, aten.erfinv_.default, aten.bernoulli_.float})

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        return args[0] if func in self._random else func(*args, **(kwargs or {}))


def load_tensors(
    model: BaseSegmenter, tensors: Mapping[str, Tensor], ignore_mismatched_sizes: bool = False, strict: bool = True
) -> LoadReport:
    """Load tensors into a network as float32, without a copy where they are float32 already.

    Args:
        ignore_mismatched_sizes: leave tensors of another shape than the checkpoint's as initialized, and adapt the
            first convolution (colors summed or repeated): for other numbers of classes or channels.
        strict: refuse missing and unexpected names.

    Raises:
        ValueError: names or shapes that do not fit and are not allowed to differ, or a tensor with NaN or infinity.
    """
    own = model.state_dict()
    report = LoadReport(
        missing=[key for key in own if key not in tensors], unexpected=[key for key in tensors if key not in own]
    )
    if strict and (report.missing or report.unexpected):
        raise ValueError(
            f"the tensors of a checkpoint must be those of the network; {report}: use a checkpoint of this model"
        )
    state = {}
    for key in own.keys() & tensors.keys():
        tensor, shape = tensors[key].to(own[key].dtype), own[key].shape
        if tensor.shape == shape:
            report.loaded.append(key)
        elif not ignore_mismatched_sizes:
            raise ValueError(
                f"tensor {key} must be {tuple(shape)} as in the network; the checkpoint has {tuple(tensor.shape)}: "
                "pass the num_classes and in_chans of the checkpoint"
            )
        elif key.startswith("backbone.") and tensor.ndim == 4 and shape[1] == model.in_chans:
            tensor = adapt_input_conv(model.in_chans, tensor)
            report.adapted.append(key)
        else:
            report.reinitialised.append(key)
            continue
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise ValueError(f"weights must be finite; tensor {key} holds NaN or infinity: use another checkpoint")
        state[key] = tensor
    model.load_state_dict(state, strict=False, assign=True)
    return report
