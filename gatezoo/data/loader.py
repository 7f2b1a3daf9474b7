"""Order of the samples in training, and the loader of their batches."""

from __future__ import annotations

import bisect
import os
import random
from collections.abc import Callable, Sequence, Sized
from functools import partial
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from ..utils.parallel import init_data_worker


class EpochStream(Dataset):
    """Shuffled epochs of a data set, one after the other, from item ``start`` to item ``items``.

    Item i is the same, including its augmentation, for any number of workers and processes and wherever training was
    resumed: its index and its random numbers depend only on the seed, the epoch and the position. With repeat factors
    r, an epoch holds image n floor(r_n) times, and once more with probability r_n - floor(r_n), drawn for each epoch.

    Args:
        data: the data set.
        items: number of items, over all epochs.
        seed: of order and augmentation.
        start: first item of this loader.
        later: copies of the data set with another transform, each with the item from which it is read in place of
            ``data``, in order.
        repeats: repeat factor of each image, at least 1; default: each once in an epoch.

    Raises:
        ValueError: an empty data set.
    """

    def __init__(
        self,
        data: Dataset,
        items: int,
        seed: int,
        start: int = 0,
        later: Sequence[tuple[int, Dataset]] = (),
        repeats: np.ndarray | None = None,
    ):
        assert isinstance(data, Sized)
        if len(data) == 0:
            raise ValueError("a data set to train on must hold images; it holds none")
        self.data, self.items, self.seed, self.start, self.later = data, items, seed, start, later
        self.repeats = repeats
        # First item of each epoch whose length is known, and the order of the epoch that was read last.
        self._firsts, self._order = [0], (-1, np.empty(0, dtype=np.int64))

    def __len__(self) -> int:
        return self.items - self.start

    def __getitem__(self, index: int) -> Any:
        index += self.start
        epoch, position = self._locate(index)
        data = next((data for first, data in reversed(self.later) if index >= first), self.data)
        if self._order[0] != epoch:
            self._order = epoch, self._shuffled(epoch)
        order = self._order[1]
        state = random.getstate()
        with torch.random.fork_rng(devices=[]):
            seed = int(np.random.SeedSequence((self.seed, epoch, position)).generate_state(1)[0])
            random.seed(seed)
            torch.manual_seed(seed)
            item = data[int(order[position])]
        random.setstate(state)
        return item

    def _locate(self, index: int) -> tuple[int, int]:
        """Return the epoch and the position in it of an item."""
        assert isinstance(self.data, Sized)
        if self.repeats is None:
            return divmod(index, len(self.data))
        while self._firsts[-1] <= index:
            self._firsts.append(self._firsts[-1] + len(self._shuffled(len(self._firsts) - 1)))
        epoch = bisect.bisect_right(self._firsts, index) - 1
        return epoch, index - self._firsts[epoch]

    def _shuffled(self, epoch: int) -> np.ndarray:
        """Return the indices of an epoch's images in order."""
        assert isinstance(self.data, Sized)
        rng = np.random.default_rng((self.seed, epoch))
        if self.repeats is None:
            return rng.permutation(len(self.data))
        whole = np.floor(self.repeats)
        times = whole + (rng.random(len(whole)) < self.repeats - whole)
        return rng.permutation(np.repeat(np.arange(len(whole)), times.astype(np.int64)))


def create_loader(
    stream: EpochStream,
    batch_size: int,
    workers: int,
    device: str = "cpu",
    collate: Callable[[Sequence[Any]], Any] | None = None,
) -> DataLoader:
    """Make a loader of the batches of a stream, decoded and augmented by worker processes.

    Args:
        stream: the items, in order.
        batch_size: items of a batch.
        workers: number of worker processes; 0: load in this process.
        device: type of the device that trains.
        collate: items -> batch; default: torch's own.
    """
    return DataLoader(
        stream,
        batch_size,
        num_workers=workers,
        pin_memory=device == "cuda",
        collate_fn=collate,
        worker_init_fn=partial(_worker_init, low_priority=device == "cpu"),
        # Each start of a loader draws a number, which from the global generator would change a resumed training.
        generator=torch.Generator(),
    )


def _worker_init(worker: int, low_priority: bool) -> None:
    """Set up a worker process."""
    init_data_worker()
    # Where all cores train, a worker that takes one delays the others: let it decode while they wait for each other.
    if low_priority and hasattr(os, "nice"):
        os.nice(10)
