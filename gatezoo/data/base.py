"""Base class of data sets of labeled images: items, label checks and class frequencies."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.utils.data import Dataset
from torchvision import tv_tensors
from torchvision.transforms.v2 import functional as F

from ..utils.images import load_image
from ..utils.palette import voc_palette
from ..utils.parallel import parallel_map
from ..utils.text import first_values
from .classes import check_class_list
from .files.labels import Color, Decoder, index_png

if TYPE_CHECKING:
    from .label_format import LabelFormat

Sample = dict[str, Any]

# Class of an id that must not occur.
UNKNOWN = -1
# Ids reach as far as the numbers of colors, R 65536 + G 256 + B.
MAX_ID = 0xFFFFFF
# Pixels per image from which ``depth_quantiles`` computes.
MAX_DEPTH_PIXELS = 10_000


@dataclass(frozen=True)
class ExtraMap:
    """A further map of every image, such as its depth.

    Attributes:
        files: one file for each image.
        read: function that reads a file as an array (H, W).
    """

    files: Sequence[Path]
    read: Callable[[Path], np.ndarray]


def ids_from_one(num_classes: int, ignore_index: int = 255) -> dict[int, int]:
    """Map ids that start at 1 to classes: 0 is ignored, k becomes class k - 1, and ``ignore_index`` stays ignored."""
    return {0: ignore_index, ignore_index: ignore_index} | {k + 1: k for k in range(num_classes)}


def class_table(num_classes: int, ignore_index: int, ids: Mapping[int, int] | None) -> np.ndarray:
    """Return the class of every id as int16, ``UNKNOWN`` for ids that must not occur.

    The table has at least 256 entries, so that any 8-bit value can index it.
    """
    ids = {k: k for k in (*range(num_classes), ignore_index)} if ids is None else ids
    if not 0 <= min(ids, default=0) <= max(ids, default=0) <= MAX_ID:
        wrong = min(ids) if min(ids) < 0 else max(ids)
        raise ValueError(f"ids of labels and ignore_index must be in 0 .. {MAX_ID}; got {wrong}: leave it out")
    table = np.full(max(255, *ids) + 1, UNKNOWN, dtype=np.int16)
    for label_id, k in ids.items():
        if not (0 <= k < num_classes or k == ignore_index):
            raise ValueError(
                f"ids must map to 0 .. {num_classes - 1} or {ignore_index} (ignored); {label_id} maps to {k}"
            )
        table[label_id] = k
    return table


class SegmentationDataset(Dataset):
    """Data set of images with one label map each, read from files.

    An item is a dictionary: "image", a ``tv_tensors.Image`` (C, H, W), uint8 or float32 in 0 .. 255; "mask", a
    ``tv_tensors.Mask`` uint8 (H, W) of classes 0 .. K - 1 and ``ignore_index``; and each layer under its name, a
    ``tv_tensors.Mask`` (H, W).
    The layer "depth" is in metres, float32, NaN where nothing was measured.

    Args:
        images: image files.
        label_files: their label files, in the same order.
        classes: number K or names of the classes.
        decode: function that reads a label file as an array (H, W) of ids (see :mod:`gatezoo.data.files.labels`).
        ids: class, or ``ignore_index``, of every id that may occur. Default: the ids are the classes.
        ignore_index: value of "mask" where a pixel does not count.
        palette: color of each class; default: the PASCAL VOC colors.
        layers: further maps by name.
        read_image: function that reads an image file as a tensor (C, H, W), values in 0 .. 255.
        transform: joint transform, item -> item. May be set later.

    Attributes:
        instance_sizes: mean size in pixels of the instances of a class, by class; None where it is unknown.
        label_format: encoding of the classes in the label files, of a user's own files; None for published data sets.
        image_max: value of full brightness in the image files, if it is not that of their type.
        annotation_files: files that hold the annotations of several images, or their labels.

    Raises:
        ValueError: lists of different lengths. On reading, naming the file: unreadable files, labels whose size
            differs from that of their image, ids that must not occur.
    """

    instance_sizes: Mapping[int, float] | None = None
    label_format: LabelFormat | None = None
    image_max: float | None = None
    annotation_files: Sequence[Path] = ()

    def __init__(
        self,
        images: Sequence[Path],
        label_files: Sequence[Path],
        classes: int | Sequence[str],
        *,
        decode: Decoder = index_png,
        ids: Mapping[int, int] | None = None,
        ignore_index: int = 255,
        palette: Sequence[Color] | None = None,
        layers: Mapping[str, ExtraMap] | None = None,
        read_image: Callable[[Path], torch.Tensor] = load_image,
        transform: Callable[[Sample], Sample] | None = None,
    ):
        self.classes = tuple(map(str, range(classes))) if isinstance(classes, int) else tuple(classes)
        check_class_list(self.classes)
        self.num_classes = len(self.classes)
        if not (1 <= self.num_classes <= 256 and 0 <= ignore_index <= 255):
            raise ValueError(
                f"there must be 1 to 256 classes and an ignore_index in 0 .. 255; "
                f"got {self.num_classes} and {ignore_index}"
            )
        colors = voc_palette(self.num_classes) if palette is None else palette
        self.palette: tuple[Color, ...] = tuple((red, green, blue) for red, green, blue in colors)
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
            self._valid_ids = f"0 .. {self.num_classes - 1} or {ignore_index} (ignored)"
            self._fix = "set num_classes or ignore_index"
        else:
            self._valid_ids = f"one of the ids {first_values(sorted(ids))}"
            self._fix = "add it to ids (--label-map)"

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
                kind, files = ("labels", self.label_files) if name == "mask" else (name, self.layers[name].files)
                raise ValueError(
                    f"{kind} must have the size of their image; {files[index]} is {tuple(value.shape)}, "
                    f"{image.name} {tuple(size)}"
                )
        return self.transform(sample) if self.transform else sample

    def labels(self, index: int) -> torch.Tensor:
        """Return the checked label map of an image as classes, uint8 (H, W).

        Raises:
            ValueError: ids that must not occur, naming the file and the first of them.
        """
        path = self.label_files[index]
        ids = self._decode(path)
        if ids.dtype.kind == "f":  # MATLAB's numbers are doubles by default
            ids = ids.astype(np.int64)
        if ids.dtype != np.uint8 and ids.size and not 0 <= ids.min() <= ids.max() < len(self._table):
            wrong = ids[(ids < 0) | (ids >= len(self._table))]
        else:
            classes = self._table[ids]
            wrong = ids[classes == UNKNOWN]
        if wrong.size:
            raise ValueError(f"labels must be {self._valid_ids}; {path} holds {wrong[0]}: {self._fix}, or fix the file")
        return torch.from_numpy(classes.astype(np.uint8))

    def class_frequencies(self, present_only: bool = False) -> torch.Tensor:
        """Compute the share of each class among the labeled pixels, (num_classes,), which sums to 1.

        Reads, and checks, all labels.

        Args:
            present_only: count only the pixels of the images that hold the class (Eigen and Fergus, 2015). The shares
                then do not sum to 1; a class that occurs nowhere has 0.

        Raises:
            ValueError: labels that cannot be read or must not occur, or no labeled pixel.
        """
        pixels = torch.zeros(self.num_classes, dtype=torch.float64)
        pixels_of_images_with = torch.zeros_like(pixels)
        for counts in parallel_map(self._count_pixels, range(len(self))):
            pixels += counts
            pixels_of_images_with += counts.sum() * (counts > 0)
        if not pixels.sum():
            raise ValueError(f"some pixels must be labeled; all labels are {self.ignore_index} (ignored)")
        return pixels / pixels_of_images_with.clamp(min=1) if present_only else pixels / pixels.sum()

    def _count_pixels(self, index: int) -> torch.Tensor:
        """Count the labeled pixels of each class in an image."""
        counts = torch.bincount(self.labels(index).flatten(), minlength=256)[: self.num_classes]
        if 0 <= self.ignore_index < self.num_classes:
            counts[self.ignore_index] = 0
        return counts

    def require_depth(self, who: str) -> None:
        """Raise ValueError, naming who needs it, if the items have no depth."""
        if "depth" not in self.layers:
            raise ValueError(f"{who} must have data with depth; these have none: pass --data-kwargs depth=True")

    def depth_quantiles(self, parts: int) -> tuple[float, ...]:
        """Compute the parts - 1 depths, in metres, that cut the known pixels into parts of equal size.

        Uses about ``MAX_DEPTH_PIXELS`` evenly spread pixels of each image.

        Raises:
            ValueError: data without depth, or whose depth is known nowhere.
        """
        self.require_depth("scales by depth")
        layer = self.layers["depth"]

        def known_depths(path: Path) -> np.ndarray:
            depth = layer.read(path).ravel()
            depth = depth[:: max(1, depth.size // MAX_DEPTH_PIXELS)]
            return depth[np.isfinite(depth) & (depth > 0)]

        depths = np.concatenate(list(parallel_map(known_depths, layer.files)))
        if not depths.size:
            raise ValueError("depth must be known at one pixel of the training data at least; all of it is missing")
        return tuple(np.quantile(depths.astype(np.float64), np.arange(1, parts) / parts).tolist())

    def downsampled(self) -> SegmentationDataset:
        """Return the data set at half its size: images antialiased, labels and layers every other pixel."""
        return self._read_through(_half_image, _half_map)

    def cropped(self, rows: tuple[float, float], columns: tuple[float, float] = (0, 1)) -> SegmentationDataset:
        """Return the data set cropped to the rows and columns between two shares of the height and of the width."""
        crop = partial(_crop, rows=rows, columns=columns)
        return self._read_through(crop, crop)

    def _read_through(self, change_image: Callable, change_map: Callable) -> SegmentationDataset:
        """Return the data set with images, and with labels and layers, that are changed as they are read."""
        part = copy.copy(self)
        part._read_image = partial(change_image, read=self._read_image)
        part._decode = partial(change_map, read=self._decode)
        part.layers = {
            name: replace(layer, read=partial(change_map, read=layer.read)) for name, layer in self.layers.items()
        }
        return part

    def joined(self, other: SegmentationDataset) -> SegmentationDataset:
        """Return the images of this data set, then those of another that reads its files in the same way."""
        whole = copy.copy(self)
        whole.images, whole.label_files = self.images + other.images, self.label_files + other.label_files
        whole.layers = {
            name: replace(layer, files=[*layer.files, *other.layers[name].files]) for name, layer in self.layers.items()
        }
        return whole

    def subset(self, indices: Iterable[int]) -> SegmentationDataset:
        """Return the data set of these images only, in this order. Its ``transform`` may be set independently."""
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


def _crop(path: Path, read: Callable[[Path], Any], rows: tuple[float, float], columns: tuple[float, float]) -> Any:
    """Crop an image (C, H, W) or a map (H, W) of any kind."""
    whole = read(path)
    (top, bottom), (left, right) = (
        tuple(round(side * share) for share in shares) for side, shares in zip(whole.shape[-2:], (rows, columns))
    )
    part = whole[..., top:bottom, left:right]
    return np.ascontiguousarray(part) if isinstance(part, np.ndarray) else part.contiguous()
