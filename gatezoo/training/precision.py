"""Train in mixed precision, except for the operations that it breaks."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

_log = logging.getLogger("gatezoo")


def resolve_amp_dtype(amp_dtype: str, device: torch.device | str) -> str:
    """Return ``amp_dtype``, or "none" (with a warning) if bf16 is requested on a CPU without native bf16 support.

    torch emulates bf16 there, which takes many times as long as float32.
    """
    if amp_dtype != "bf16" or torch.device(device).type != "cpu" or torch.ops.mkldnn._is_mkldnn_bf16_supported():
        return amp_dtype
    _log.warning("this CPU does not support bf16: training in float32")
    return "none"


@contextlib.contextmanager
def mixed_precision(model: nn.Module, device: torch.device | str, amp_dtype: str = "bf16") -> Iterator[torch.autocast]:
    """Yield an autocast context for the forward passes of a training.

    On a CPU depthwise convolutions stay in float32: the weight gradient of a dilated one in bf16 and channels_last is
    wrong there (torch 2.11 to 2.15, AVX-512: relative error above 1, at times infinite).

    Args:
        model: the network to train.
        device: that it runs on.
        amp_dtype: "bf16", "fp16" (which needs a gradient scaler) or "none".

    Example:
        with mixed_precision(model, "cpu") as autocast:
            for images in batches:
                with autocast:
                    logits = model(images)
    """
    device_type, enabled = torch.device(device).type, amp_dtype != "none"
    autocast = torch.autocast(device_type, torch.float16 if amp_dtype == "fp16" else torch.bfloat16, enabled=enabled)
    depthwise: list[nn.Module] = [
        module
        for module in model.modules()
        if isinstance(module, nn.Conv2d)
        and module.groups == module.in_channels > 1
        and enabled
        and device_type == "cpu"
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
