"""Communication between the processes of a distributed run (``torchrun``)."""

from __future__ import annotations

import atexit
import os
from collections.abc import Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


def init_distributed(device: torch.device) -> None:
    """Join the process group that ``torchrun`` started; it is left when the program ends.

    Does nothing in a single process.

    Args:
        device: that this process works on, see :func:`gatezoo.utils.devices.resolve_device`.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1 and not dist.is_initialized():
        if device.type == "cuda":
            torch.cuda.set_device(device)
        # Sums are exchanged where they are, on the GPU or not; all other values on the CPU.
        dist.init_process_group("cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo")
        atexit.register(dist.destroy_process_group)


def get_rank_and_world_size() -> tuple[int, int]:
    """Return the number of this process and the number of processes: (0, 1) for a single one."""
    if dist.is_available() and dist.is_initialized():
        return dist.get_rank(), dist.get_world_size()
    return 0, 1


def all_gather_object(value: Any) -> list[Any]:
    """Return the values of all processes in order of rank. Every process must call it."""
    world_size = get_rank_and_world_size()[1]
    if world_size == 1:
        return [value]
    values: list[Any] = [None] * world_size
    dist.all_gather_object(values, value)
    return values


def gather_interleaved(values: Sequence[Any]) -> list[Any]:
    """Gather items that were distributed in turn (rank 0 the first, rank 1 the second ...), in their original order.

    Every process must call it; their numbers of values may differ by one.
    """
    shares = all_gather_object(list(values))
    return [share[turn] for turn in range(len(shares[0])) for share in shares if turn < len(share)]


def reduce_mean(count: Tensor) -> Tensor:
    """Return the mean of a count over the processes of a distributed run, at least the smallest positive number."""
    if dist.is_available() and dist.is_initialized():
        dist.all_reduce(count)
        count = count / dist.get_world_size()
    return count.clamp(min=torch.finfo(count.dtype).tiny)
