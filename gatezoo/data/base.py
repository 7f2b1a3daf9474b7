"""What all data sets of labelled images share: an item, the checks of its labels, and the share of each class."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset
from torchvision import tv_tensors
from torchvision.transforms.v2 import functional as F

from ..utils.images import load_image
from ..utils.palette import voc_palette
from .files.labels import Colour, Decoder, index_png

Sample = dict[str, Any]

# What an id stands for when it stands for nothing.
UNKNOWN = -1


@dataclass(frozen=True)
class ExtraMap:
    """A further map of every image, such as its depth: one file each, and what reads it as an array (H, W)."""

    files: Sequence[Path]
    read: Callable[[Path], np.ndarray]


def ids_from_one(num_classes: int, ignore_index: int = 255) -> dict[int, int]:
    """Ids that start at 1: 0 is ignored, k becomes class k - 1, and what is ignored already stays so."""
    return {0: ignore_index, ignore_index: ignore_index} | {k + 1: k for k in range(num_classes)}


def class_table(num_classes: int, ignore_index: int, ids: Mapping[int, int] | None) -> np.ndarray:
    """Class of every id, int16, ``UNKNOWN`` for ids that must not occur; at least 256 long, so that 8 bits fit."""
    ids = {k: k for k in (*range(num_classes), ignore_index)} if ids is None else ids
    table = np.full(max(255, *ids) + 1, UNKNOWN, dtype=np.int16)
    for number, value in ids.items():
        if not (0 <= value < num_classes or value == ignore_index):
            raise ValueError(
                f"ids must map to 0 .. {num_classes - 1} or {ignore_index} (ignored); {number} maps to {value}"
            )
        table[number] = value
    return table


class SegmentationDataset(Dataset):
    """Images with a map of labels each, read from files.

    An item is a dictionary: "image", a ``tv_tensors.Image`` uint8 (3, H, W); "mask", a ``tv_tensors.Mask`` uint8
    (H, W) of classes 0 .. K - 1 and ``ignore_index``; and each layer under its name, a ``tv_tensors.Mask`` (H, W).
    The layer "depth" is in metres, float32, NaN where nothing was measured.

    Args:
        images: files.
        label_files: their labels, in the same order.
        classes: K, or the names of the classes.
        decode: reads a label file as an array (H, W) of ids (see :mod:`gatezoo.data.files.labels`).
        ids: class, or ``ignore_index``, of every id that may occur. Default: the ids are the classes.
        ignore_index: value of "mask" where a pixel does not count.
        palette: colour of each class; default: the PASCAL VOC colours.
        layers: further maps by name.
        read_image: reads a image as uint8 (3, H, W).
        transform: joint transform, item -> item. May be set later.

    Raises:
        ValueError: lists of unlike length. On reading, naming the file: unreadable files, labels of another size
            than their image, ids that must not occur.
    """

    def __init__(
        self,
        images: Sequence[Path],
        label_files: Sequence[Path],
        classes: int | Sequence[str],
        *,
        decode: Decoder = index_png,
        ids: Mapping[int, int] | None = None,
        ignore_index: int = 255,
        palette: Sequence[Colour] | None = None,
        layers: Mapping[str, ExtraMap] | None = None,
        read_image: Callable[[Path], torch.Tensor] = load_image,
        transform: Callable[[Sample], Sample] | None = None,
    ):
        self.classes = tuple(map(str, range(classes))) if isinstance(classes, int) else tuple(classes)
        self.num_classes = len(self.classes)
        if not (1 <= self.num_classes <= 256 and 0 <= ignore_index <= 255):
            raise ValueError(
                f"there must be 1 to 256 classes and an ignore_index in 0 .. 255; "
                f"got {self.num_classes} and {ignore_index}"
            )
        self.palette = tuple(map(tuple, voc_palette(self.num_classes) if palette is None else palette))
        self.ignore_index = ignore_index
        self.images, self.label_files = list(images), list(label_files)
        self.layers = dict(layers or {})
        lengths = {"labels": len(self.label_files)} | {name: len(layer.files) for name, layer in self.layers.items()}
        for name, length in lengths.items():
            if length != len(self.images):
                raise ValueError(f"there must be one file of {name} for each image; got {length} for {len(images)}")
        self.transform = transform
        self._decode, self._read_image = decode, read_image
        self._table = class_table(self.num_classes, ignore_index, ids)
        if ids is None:
            self._known = f"0 .. {self.num_classes - 1} or {ignore_index} (ignored)"
            self._cure = "set num_classes or ignore_index"
        else:
            self._known, self._cure = _some(ids), "say in ids what it is"

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Sample:
        image = self.images[index]
        sample = {
            "image": tv_tensors.Image(self._read_image(image)),
            "mask": tv_tensors.Mask(self.labels(index)),
        }
        for name, layer in self.layers.items():
            sample[name] = tv_tensors.Mask(torch.from_numpy(layer.read(layer.files[index])))
        size = sample["image"].shape[-2:]
        for name, value in sample.items():
            if value.shape[-2:] != size:
                what, files = ("labels", self.label_files) if name == "mask" else (name, self.layers[name].files)
                raise ValueError(
                    f"{what} must have the size of their image; {files[index]} is {tuple(value.shape)}, "
                    f"{image.name} {tuple(size)}"
                )
        return self.transform(sample) if self.transform else sample

    def labels(self, index: int) -> torch.Tensor:
        """Classes (H, W), uint8, checked: the message of an error names file and value."""
        path = self.label_files[index]
        ids = self._decode(path)
        if ids.dtype.kind == "f":  # MATLAB's numbers are doubles unless told otherwise
            ids = ids.astype(np.int64)
        if ids.dtype != np.uint8 and ids.size and not 0 <= ids.min() <= ids.max() < len(self._table):
            wrong = ids[(ids < 0) | (ids >= len(self._table))]
        else:
            classes = self._table[ids]
            wrong = ids[classes == UNKNOWN]
        if wrong.size:
            raise ValueError(f"labels must be {self._known}; {path} holds {wrong[0]}: {self._cure}, or mend the file")
        return torch.from_numpy(classes.astype(np.uint8))

    def class_frequencies(self, present_only: bool = False) -> torch.Tensor:
        """Share of each class among the labelled pixels: (num_classes,), sums to 1. Reads, and checks, all labels.

        Args:
            where_present: among those of the images that hold the class alone (Eigen and Fergus, 2015); 0 for a class
                that occurs nowhere.
        """
        pixels = torch.zeros(self.num_classes, dtype=torch.float64)
        beside = torch.zeros_like(pixels)
        with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
            for counts in pool.map(self._count, range(len(self))):
                pixels += counts
                beside += counts.sum() * (counts > 0)
        if not pixels.sum():
            raise ValueError(f"some pixels must be labelled; all labels are {self.ignore_index} (ignored)")
        return pixels / beside.clamp(min=1) if present_only else pixels / pixels.sum()

    def _count(self, index: int) -> torch.Tensor:
        """Labelled pixels of each class in a image."""
        counts = torch.bincount(self.labels(index).flatten(), minlength=256)[: self.num_classes]
        if 0 <= self.ignore_index < self.num_classes:
            counts[self.ignore_index] = 0
        return counts

    def downsampled(self) -> SegmentationDataset:
        """The same data set at half its size: images smoothed, of labels and layers every other pixel."""
        part = copy.copy(self)
        part._read_image = partial(_half_image, read=self._read_image)
        part._decode = partial(_half_map, read=self._decode)
        part.layers = {
            name: replace(layer, read=partial(_half_map, read=layer.read)) for name, layer in self.layers.items()
        }
        return part

    def subset(self, indices: Iterable[int]) -> SegmentationDataset:
        """The same data set with these images alone, in this order. ``transform`` may be set apart."""
        part, indices = copy.copy(self), list(indices)
        part.images, part.label_files = ([files[i] for i in indices] for files in (self.images, self.label_files))
        part.layers = {
            name: replace(layer, files=[layer.files[i] for i in indices]) for name, layer in self.layers.items()
        }
        return part


def _half_image(path: Path, read: Callable[[Path], torch.Tensor]) -> torch.Tensor:
    image = read(path)
    return F.resize(image, [(side + 1) // 2 for side in image.shape[-2:]], antialias=True)


def _half_map(path: Path, read: Callable[[Path], np.ndarray]) -> np.ndarray:
    return np.ascontiguousarray(read(path)[::2, ::2])


def _some(ids: Iterable[int]) -> str:
    ids = sorted(ids)
    shown = ", ".join(map(str, ids[:8]))
    return f"one of the ids {shown}" + (f" ... {ids[-1]}" if len(ids) > 8 else "")


def check_depth(data: SegmentationDataset, who: str) -> None:
    """Raise ValueError if the items of a data set have no depth."""
    if "depth" not in data.layers:
        raise ValueError(f"{who} must have data with depth; these have none: open them so, --data-kwargs depth=True")


def depth_quantiles(data: SegmentationDataset, parts: int) -> tuple[float, ...]:
    """The parts - 1 depths, in metres, that cut the known pixels of a data set into parts of one size.

    Of each image some ten thousand pixels are looked at, evenly spread.

    Raises:
        ValueError: data without depth, or of which none is known.
    """
    check_depth(data, "scales by depth")
    layer = data.layers["depth"]

    def some(path: Path) -> np.ndarray:
        depth = layer.read(path).ravel()
        depth = depth[:: max(1, depth.size // 10_000)]
        return depth[np.isfinite(depth) & (depth > 0)]

    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        known = np.concatenate(list(pool.map(some, layer.files)))
    if not known.size:
        raise ValueError("depth must be known at one pixel of the training data at least; all of it is missing")
    return tuple(np.quantile(known.astype(np.float64), np.arange(1, parts) / parts).tolist())
