"""The order in which a training meets its samples."""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset


class EpochStream(Dataset):
    """Shuffled epochs of a data set end to end, from item ``start`` to item ``items``.

    Item i is the same, augmentation and all, whatever the number of workers and processes and wherever a training
    was resumed: its place and its random numbers come from the seed, the epoch and the position alone.
    """

    def __init__(self, data: Dataset, items: int, seed: int, start: int = 0):
        if len(data) == 0:
            raise ValueError("a data set to train on must hold images; it holds none")
        self.data, self.items, self.seed, self.start = data, items, seed, start

    def __len__(self) -> int:
        return self.items - self.start

    def __getitem__(self, index: int) -> Any:
        index += self.start
        epoch, position = divmod(index, len(self.data))
        order = np.random.default_rng((self.seed, epoch)).permutation(len(self.data))
        state = random.getstate()
        with torch.random.fork_rng(devices=[]):
            draw = int(np.random.SeedSequence((self.seed, epoch, position)).generate_state(1)[0])
            random.seed(draw)
            torch.manual_seed(draw)
            item = self.data[int(order[position])]
        random.setstate(state)
        return item


def create_loader(
    stream: EpochStream,
    batch_size: int,
    workers: int,
    device: str = "cpu",
    collate: Callable[[Sequence[Any]], Any] | None = None,
) -> DataLoader:
    """Batches of a stream for training on a type of device, decoded and augmented by worker processes.

    Args:
        collate: items -> batch; default: torch's own.
    """
    return DataLoader(
        stream,
        batch_size,
        num_workers=workers,
        pin_memory=device == "cuda",
        collate_fn=collate,
        worker_init_fn=partial(_worker_init, low_priority=device == "cpu"),
        # A generator of its own: each start of a loader draws a number, and a resumed training would go on with others.
        generator=torch.Generator(),
    )


def _worker_init(worker: int, low_priority: bool) -> None:
    """Start of a worker."""
    # Ctrl-C reaches the whole group; the trainer decides when its workers end.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Where all cores train, a worker that takes one holds up the others: it decodes while they wait for each other.
    if low_priority and hasattr(os, "nice"):
        os.nice(10)
