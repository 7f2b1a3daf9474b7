"""Resizing of feature maps."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


def _is_traced() -> bool:
    return torch.compiler.is_compiling() or torch.compiler.is_exporting()


def resize_to(x: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize (B, C, h, w) bilinearly to (B, C, *size), pixel centres aligned (``align_corners=False``)."""
    # Not while tracing: the comparison would tie an exported network to images that compare as the traced one did.
    if not _is_traced() and x.shape[-2:] == tuple(size):
        return x
    return F.interpolate(x, size=size, mode="bilinear", align_corners=False)


def group_by_size(maps: Sequence[Tensor]) -> list[list[int]]:
    """Numbers of the maps of each size, in order: [[0], [1, 2, 3]]. While tracing every map stands alone."""
    groups: dict[object, list[int]] = {}
    for number, x in enumerate(maps):
        groups.setdefault(number if _is_traced() else x.shape[-2:], []).append(number)
    return list(groups.values())


def sum_tensors(maps: Iterable[Tensor]) -> Tensor:
    """Their sum. Python's own begins with 0 + the first, one more reading and writing of a whole map."""
    return functools.reduce(torch.add, maps)


def sum_resized(maps: Sequence[Tensor], size: tuple[int, int]) -> Tensor:
    """``sum_tensors(resize_to(x, size) for x in maps)``; maps of one size are added first, then resized once."""
    return sum_tensors(resize_to(sum_tensors(maps[number] for number in group), size) for group in group_by_size(maps))


def interpolation_matrix(size: int, target: int, like: Tensor) -> Tensor:
    """Matrix (target, size) whose product with a map's rows is their bilinear resize, as :func:`resize_to` does it."""
    source = (torch.arange(target, device=like.device) + 0.5) * size / target - 0.5
    distance = source.clamp(0, size - 1)[:, None] - torch.arange(size, device=like.device)
    return (1 - distance.abs()).clamp(min=0).to(like.dtype)
