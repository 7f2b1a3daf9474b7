"""What only a run tells of a network, found on the meta device, where tensors have shapes and no numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode


@dataclass(frozen=True)
class BackboneGeometry:
    """What a run found.

    Attributes:
        divisor: of height and width, asked for by patches (4, 16), parallel branches (32), windows (its own size).
        strides: of each block, in powers of two.
        overwritten: blocks that change their input in place.
    """

    divisor: int
    strides: list[int]
    overwritten: set[int]


class _ShapesOfNorms(TorchFunctionMode):
    """Batch norm answers with a tensor like its input: on the meta device the real one takes most of a run's time."""

    def __torch_function__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        return torch.empty_like(args[0]) if func is torch.batch_norm else func(*args, **(kwargs or {}))


def probe_geometry(
    net: nn.Module, blocks: Sequence[tuple[str, ...]] | None, in_chans: int, own_size: int, rows: int = 2
) -> BackboneGeometry:
    """Run a network of the meta device, with sides divisible by more and more, until it takes them.

    Args:
        blocks: names of the modules of each block; None to run it whole.
        own_size: the side of the images it was made for.
        rows: the dimension of a map that counts its rows.

    Raises:
        ValueError: it takes no image; the message goes on from the network's name.
    """
    for divisor in (1, 2, 4, 8, 14, 16, 32, own_size):
        height, width = (-(-size // divisor) * divisor for size in (257, 385))
        strides, overwritten = [], set()
        try:
            # Tensors of inference mode, should the caller be in it, keep no count of their changes.
            with torch.inference_mode(False), torch.no_grad(), _ShapesOfNorms():
                x = torch.empty(1, in_chans, height, width, device="meta")
                for block, steps in enumerate(blocks or [("",)], start=1):
                    before, version = x, getattr(x, "_version", None)
                    for step in steps:
                        x = net.get_submodule(step)(x)
                    if getattr(before, "_version", None) != version:
                        overwritten.add(block)
                    if torch.is_tensor(x):
                        strides.append(2 ** round(math.log2(height / x.shape[rows])))
        except (AssertionError, RuntimeError, ValueError):
            continue
        return BackboneGeometry(divisor, strides, overwritten)
    raise ValueError(f"takes no image in multiples of 32 or {own_size} pixels: choose another")
