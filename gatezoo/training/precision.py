"""Mixed precision, and what it must leave alone."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

_log = logging.getLogger("gatezoo")


def resolve_amp_dtype(kind: str, device: torch.device | str) -> str:
    """The precision asked for, or "none" in place of "bf16" on a CPU that has no arithmetic for it, which is logged.

    torch emulates it there, which takes many times as long as float32.
    """
    if kind != "bf16" or torch.device(device).type != "cpu" or torch.ops.mkldnn._is_mkldnn_bf16_supported():
        return kind
    _log.warning("this CPU cannot compute in bf16: training is in float32")
    return "none"


@contextlib.contextmanager
def mixed_precision(model: nn.Module, device: torch.device | str, kind: str = "bf16") -> Iterator[torch.autocast]:
    """Autocast for training ``model``: ``with mixed_precision(model, "cpu") as autocast: with autocast: ...``

    ``kind`` is "bf16", "fp16" (which wants a gradient scaler) or "none".

    On a CPU depthwise convolutions stay in float32. The weight gradient of a dilated one in bf16 and channels_last is
    wrong there (torch 2.11 to 2.15, AVX-512: relative error above 1, at times infinite).
    """
    where, enabled = torch.device(device).type, kind != "none"
    autocast = torch.autocast(where, torch.float16 if kind == "fp16" else torch.bfloat16, enabled=enabled)
    depthwise = [
        module
        for module in model.modules()
        if isinstance(module, nn.Conv2d) and module.groups == module.in_channels > 1 and enabled and where == "cpu"
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
