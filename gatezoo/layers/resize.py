"""Resize feature maps, and sum maps of different sizes."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


def is_tracing() -> bool:
    """Return whether the model is being compiled or exported, so that Python must not branch on tensor sizes."""
    return torch.compiler.is_compiling() or torch.compiler.is_exporting()


def resize_to(x: Tensor, size: Sequence[int]) -> Tensor:
    """Resize (B, C, h, w) bilinearly to (B, C, *size), pixel centers aligned (``align_corners=False``)."""
    # Not while tracing: the comparison would restrict an exported network to images that compare as the traced one.
    if not is_tracing() and x.shape[-2:] == tuple(size):
        return x
    return F.interpolate(x, size=size, mode="bilinear", align_corners=False)


def group_by_size(maps: Sequence[Tensor]) -> list[list[int]]:
    """Return the indices of the maps of each size, in order: [[0], [1, 2, 3]]; one group per map while tracing."""
    groups: dict[object, list[int]] = {}
    for index, x in enumerate(maps):
        groups.setdefault(index if is_tracing() else x.shape[-2:], []).append(index)
    return list(groups.values())


def sum_tensors(maps: Iterable[Tensor]) -> Tensor:
    """Return the sum of the maps without the ``0 + first`` of Python's ``sum``, which copies a whole map."""
    return functools.reduce(torch.add, maps)


def sum_resized(maps: Sequence[Tensor], size: Sequence[int]) -> Tensor:
    """Return ``sum_tensors(resize_to(x, size) for x in maps)``, adding maps of equal size before one resize."""
    return sum_tensors(resize_to(sum_tensors(maps[index] for index in group), size) for group in group_by_size(maps))


def interpolation_matrix(size: int, target: int, like: Tensor) -> Tensor:
    """Return the matrix (target, size) whose product with a map's rows resizes them as :func:`resize_to` does."""
    return _interpolation(torch.arange(size, device=like.device), size, target, like)


def interpolation_matrices(sizes: Sequence[int], target: int, like: Tensor) -> Tensor:
    """Return the matrices of :func:`interpolation_matrix` side by side: (target, sum of ``sizes``)."""
    return _interpolation(*stack_positions(sizes, like.device), target, like)


def stack_positions(sizes: Sequence[int], device: torch.device) -> tuple[Tensor, Tensor]:
    """Return, for each position of several lines one after the other, its number in its line and the line's length.

    What is computed of all lines at once takes fewer operations, on which the time of an export depends.
    """
    positions = torch.cat([torch.arange(size, device=device) for size in sizes])
    return positions, torch.cat([torch.full((size,), size, device=device) for size in sizes])


def _interpolation(position: Tensor, size: int | Tensor, target: int, like: Tensor) -> Tensor:
    """Return the weights (target, n) of n positions, each in a line of ``size``, for each position of the target."""
    source = (torch.arange(target, device=like.device)[:, None] + 0.5) * size / target - 0.5
    distance = source.clamp(min=0).clamp(max=size - 1) - position
    return (1 - distance.abs()).clamp(min=0).to(like.dtype)
