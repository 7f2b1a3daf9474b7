"""Mixed precision, and what it must leave alone."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn


@contextlib.contextmanager
def mixed_precision(model: nn.Module, device: torch.device | str, enabled: bool = True) -> Iterator[torch.autocast]:
    """bf16 autocast for training ``model``: ``with mixed_precision(model, "cpu") as autocast: with autocast: ...``

    On a CPU depthwise convolutions stay in float32. The weight gradient of a dilated one in bf16 and channels_last is
    wrong there (torch 2.11 to 2.15, AVX-512: relative error above 1, at times infinite).
    """
    kind = torch.device(device).type
    autocast = torch.autocast(kind, torch.bfloat16, enabled=enabled)
    depthwise = [
        module
        for module in model.modules()
        if isinstance(module, nn.Conv2d) and module.groups == module.in_channels > 1 and enabled and kind == "cpu"
    ]
    for module in depthwise:
        module.forward = _in_float32(module.forward)
    try:
        yield autocast
    finally:
        for module in depthwise:
            del module.forward


def _in_float32(forward: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    def run(x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            return forward(x.float())

    return run
