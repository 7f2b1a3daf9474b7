"""Samples of a data set, interleaved over the processes that evaluate it together."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from ..inference.data_classes import check_num_classes
from ..segmenters.base import BaseSegmenter
from ..utils.distributed import get_rank_and_world_size
from ..utils.parallel import init_data_worker, plain_message
from ..utils.progress import Progress
from ..utils.text import shorten


class LabeledData(Protocol):
    """A data set with a known number of classes, such as those of :mod:`gatezoo.data`."""

    @property
    def num_classes(self) -> int:
        """Number of classes K."""
        ...

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Any: ...


# Keys that a sample must have, by task.
KEYS = {"semantic": ("image", "mask"), "instance": ("image", "boxes", "labels", "masks")}


def check_data(model: BaseSegmenter, data: LabeledData, workers: int) -> dict[str, Any]:
    """Check that a data set fits a model and return its first sample.

    Args:
        model: to be evaluated.
        data: to evaluate it on.
        workers: number of processes that decode images.

    Raises:
        ValueError: the data set is empty, has other classes than the model, or its samples lack a key; or the number
            of workers is negative.
    """
    if not all(hasattr(data, name) for name in ("__len__", "__getitem__", "num_classes")):
        raise ValueError(
            f"data must be a data set with num_classes; got {shorten(data)}: open such as a gatezoo.data.FolderDataset"
        )
    if len(data) == 0:
        raise ValueError("a data set to evaluate on must hold images; it holds none: check its folder and split")
    if workers < 0:
        raise ValueError(f"workers must be 0 or a number of processes; got {workers}")
    check_num_classes(model, data)
    first, keys = data[0], KEYS[model.task]
    if not (isinstance(first, dict) and set(keys) <= first.keys()):
        *others, last = keys
        got = sorted(first) if isinstance(first, dict) else type(first).__name__
        raise ValueError(f"a sample must be a dict with {', '.join(others)} and {last}; got {got}")
    return first


def iterate_samples(
    data: LabeledData, keys: Collection[str], device: torch.device, workers: int, progress: Progress | None
) -> Iterator[tuple[int, dict[str, Tensor]]]:
    """Yield (index, sample) of each image of this process.

    Args:
        data: of which every process takes its share: rank 0 the first image, rank 1 the second, and so on.
        keys: of a sample that are kept, if it has them, as plain tensors.
        device: that the samples are moved to by the caller; for a GPU they are pinned.
        workers: processes that decode images ahead; 0: none.
        progress: see :mod:`gatezoo.utils.progress`.

    Raises:
        ValueError: an image or its labels cannot be read.
    """
    shard = _RankShard(data, keys)
    pin_memory = device.type == "cuda"
    loader: DataLoader[Any] = DataLoader(
        shard, batch_size=None, num_workers=workers, pin_memory=pin_memory, worker_init_fn=init_data_worker
    )
    try:
        yield from progress(loader, len(shard)) if progress else loader
    except ValueError as error:  # of a worker, to whose message torch adds a traceback
        raise ValueError(plain_message(error)) from error


class _RankShard(Dataset):
    """The images of this process, so that each image is evaluated by one process alone.

    An item is (index of the image, its sample as plain tensors, which workers send without further conversion).
    """

    def __init__(self, data: LabeledData, keys: Collection[str]):
        self.data, self.keys = data, tuple(keys)
        rank, world_size = get_rank_and_world_size()
        self.indices = range(rank, len(data), world_size)

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, item: int) -> tuple[int, dict[str, Tensor]]:
        index = self.indices[item]
        sample = self.data[index]
        return index, {key: sample[key].as_subclass(Tensor) for key in self.keys if key in sample}


def image_name(data: LabeledData, index: int) -> str:
    """Return the name of an image's file, or "image N" if the data set has no files."""
    paths = getattr(data, "images", None)
    return paths[index].name if paths else f"image {index}"


@contextlib.contextmanager
def image_error_context(name: str) -> Iterator[None]:
    """Put the name of an image in front of the message of an error about it."""
    try:
        yield
    except ValueError as error:
        raise ValueError(str(error) if name in str(error) else f"{name}: {error}") from None
