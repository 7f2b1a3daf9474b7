"""The processes that work together, where a program was started as several (``torchrun``)."""

from __future__ import annotations

import atexit
import os
from collections.abc import Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


def init_distributed(device: str) -> str:
    """Work together with the processes that ``torchrun`` started beside this one, until the program ends.

    Returns:
        The device of this process: of "cuda" the GPU with its number on this machine.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1 and not dist.is_initialized():
        dist.init_process_group("gloo")  # figures are exchanged, which lie on no GPU
        atexit.register(dist.destroy_process_group)
    return f"cuda:{os.environ['LOCAL_RANK']}" if device == "cuda" and get_rank_and_world_size()[1] > 1 else device


def get_rank_and_world_size() -> tuple[int, int]:
    """This process' number and how many there are: (0, 1) for one on its own."""
    if dist.is_available() and dist.is_initialized():
        return dist.get_rank(), dist.get_world_size()
    return 0, 1


def all_gather_object(value: Any) -> list[Any]:
    """The values of all processes in order of rank. Every process must call it."""
    count = get_rank_and_world_size()[1]
    if count == 1:
        return [value]
    values: list[Any] = [None] * count
    dist.all_gather_object(values, value)
    return values


def gather_interleaved(values: Sequence[Any]) -> list[Any]:
    """What was dealt out in turn (rank 0 the first, rank 1 the second ...), in the order it had.

    Every process must call it; their numbers of values may differ by one.
    """
    shares = all_gather_object(list(values))
    return [share[turn] for turn in range(len(shares[0])) for share in shares if turn < len(share)]


def reduce_mean(count: Tensor) -> Tensor:
    """Mean of a count over the processes of a distributed run, at least the smallest number above zero."""
    if dist.is_available() and dist.is_initialized():
        dist.all_reduce(count)
        count = count / dist.get_world_size()
    return count.clamp(min=torch.finfo(count.dtype).tiny)
