"""Copy modules without copying their weights."""

from __future__ import annotations

import copy
import itertools
from typing import Any, TypeVar

import torch
from torch import nn

M = TypeVar("M", bound=nn.Module)


def copy_for_inference(module: M, device: str | torch.device | None = None, share: bool = True) -> M:
    """Copy a module in evaluation mode; its weights are shared with the original unless they are to be copied.

    The copy has modules of its own, so that mode, hooks and attributes that are set on it do not reach the original,
    and the other way round. Shared parameters and buffers are the same tensors: training the original trains the copy.
    Those on another device than the requested one are copied there, and then stay as they are.

    Args:
        module: of any kind; it is not changed.
        device: of the copy; default: where each tensor is.
        share: share the weights; else copy them.
    """
    # Inside inference mode the tensors of another device would be unfit for training for ever.
    with torch.inference_mode(False), torch.no_grad():
        memo: dict[int, Any] = {}
        for tensor in itertools.chain(module.parameters(), module.buffers()):
            moved = tensor if device is None else tensor.to(device)
            moved = moved if share or moved is not tensor else tensor.detach().clone()
            if moved is not tensor and isinstance(tensor, nn.Parameter):
                moved = nn.Parameter(moved, requires_grad=tensor.requires_grad)
            memo[id(tensor)] = moved
        return copy.deepcopy(module, memo).eval()
