"""Infer a backbone's geometry (size divisor, strides, in-place blocks) by running it on the meta device."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn


@dataclass(frozen=True)
class BackboneGeometry:
    """Properties of a backbone that only running it shows.

    Attributes:
        size_divisor: height and width must be multiples of it, due to patches (4, 16), parallel branches (32) or
            windows (the size that the network was made for).
        strides: of each block, in powers of two; empty if the network is run whole.
        inplace_blocks: numbers (from 1) of the blocks that change their input in place.
    """

    size_divisor: int
    strides: tuple[int, ...]
    inplace_blocks: frozenset[int]


def probe_geometry(
    net: nn.Module, blocks: Sequence[tuple[str, ...]] | None, in_chans: int, native_size: int, rows: int = 2
) -> BackboneGeometry:
    """Run a network on the meta device with sides of ever larger divisors, until it accepts them.

    Args:
        net: a network on the meta device, which has no further use.
        blocks: names of the modules of each block; None to run the network whole.
        in_chans: channels of the image.
        native_size: the side of the images that the network was made for.
        rows: the dimension of a map that counts its rows.

    Raises:
        ValueError: it accepts no image; the message continues from the network's name.
    """
    for module in net.modules():
        if type(module) is nn.BatchNorm2d:  # it changes no shape, and the meta device computes it in Python
            module.forward = torch.empty_like  # type: ignore[method-assign]
    for divisor in (1, 2, 4, 8, 14, 16, 32, native_size):
        height, width = (-(-size // divisor) * divisor for size in (257, 385))
        strides: list[int] = []
        inplace: set[int] = set()
        try:
            # If the caller is in inference mode: its tensors do not count their changes.
            with torch.inference_mode(False), torch.no_grad():
                x = torch.empty(1, in_chans, height, width, device="meta")
                for block, steps in enumerate(blocks or [("",)], start=1):
                    before, version = x, getattr(x, "_version", None)
                    for step in steps:
                        x = net.get_submodule(step)(x)
                    if getattr(before, "_version", None) != version:
                        inplace.add(block)
                    if torch.is_tensor(x):
                        strides.append(2 ** round(math.log2(height / x.shape[rows])))
        except (AssertionError, RuntimeError, ValueError):
            continue
        return BackboneGeometry(divisor, tuple(strides), frozenset(inplace))
    raise ValueError(f"takes no image in multiples of 32 or {native_size} pixels: choose another")
