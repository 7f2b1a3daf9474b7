"""Annotations that are regions with a label: polygons, boxes and masks, drawn when an image is read."""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.utils.data import Dataset
from torchvision import tv_tensors

from ...utils.image_size import image_size
from ...utils.images import load_image
from ...utils.palette import voc_palette
from ...utils.text import first_values, shorten
from ..base import Sample
from ..files.labels import Color, Decoder
from ..instances import masks_to_boxes
from .raster import Patch, Size, draw_patches
from .source import BACKGROUND, IGNORED, Entry, ReadOptions, Source, plain_label


class Region(NamedTuple):
    """A part of an image and its label.

    Attributes:
        label: name of its class, or ``IGNORED``.
        patch: its mask.
        group: regions of the same label and group are one instance; None: it is one of its own.
        crowd: it covers several objects.
    """

    label: str
    patch: Patch
    group: Hashable = None
    crowd: bool = False


@contextmanager
def naming(where: object) -> Iterator[None]:
    """Put a file, or a part of it, in front of the message of a ValueError."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None


def check_stated_size(stated: tuple[Any, Any], size: Size, key: Path) -> None:
    """Raise ValueError, naming an entry, if its annotations state another (height, width) than its image has."""
    if stated != size:
        raise ValueError(
            f"images must have the size that the annotations give; in {key} it is {stated}, that of the image {size}"
        )


class RegionSource(Source):
    """Images with regions. A class has ``regions``; the rest is the same for all formats.

    Regions are drawn in the order of the file, so a later one covers an earlier one; crowds first, as they are only
    where no single object is. In a label map they do not count.
    """

    @abstractmethod
    def regions(self, key: Path, size: Size) -> Iterator[Region]:
        """Yield the regions of an entry, crowds first, each drawn when it is asked for.

        Args:
            key: of the entry.
            size: (height, width) of the image.

        Raises:
            ValueError: naming the file; a region that cannot be drawn, or an image of another size than stated.
        """

    def size(self, key: Path) -> Size:
        """Return (height, width) of an entry's image."""
        return image_size(self.entries[self.index_of[key]].image)

    def decoder(self, options: ReadOptions) -> Decoder:
        """Return the function from an entry's key to its classes, uint8 (H, W)."""
        return partial(_draw_classes, source=self, options=options, classes=self.class_table(options))

    def class_table(self, options: ReadOptions) -> dict[str, int]:
        """Return the class of each label."""
        return {name: k for k, name in enumerate(self.class_names(options))} | {IGNORED: options.ignore_index}

    def instances(self, split: str | None, options: ReadOptions) -> RegionInstances:
        """Open the instances of a split. Class 0 is the background, whatever ``unlabeled`` says."""
        return RegionInstances(self, self.of_split(split), options)


def _class_of(region: Region, classes: Mapping[str, int], key: Path) -> int:
    label = plain_label(region.label)
    if label not in classes:
        names = first_values(name for name in classes if name != IGNORED)
        raise ValueError(
            f"labels must be among the classes {names}; {key} has {shorten(region.label)}: add it to --classes, or "
            "rename it"
        )
    return classes[label]


def _draw_classes(key: Path, source: RegionSource, options: ReadOptions, classes: Mapping[str, int]) -> np.ndarray:
    size = source.size(key)
    patches = (
        (region.patch, options.ignore_index if region.crowd else _class_of(region, classes, key))
        for region in source.regions(key, size)
    )
    empty = classes[BACKGROUND] if options.unlabeled == "background" else options.ignore_index
    return draw_patches(patches, size, empty, np.uint8)


class RegionInstances(Dataset):
    """Instances of images with regions.

    An item is that of :class:`~gatezoo.data.datasets.coco.CocoInstances`, the boxes those around the masks. Regions of
    one label and group are one instance; regions of the background or that do not count are none, nor are those
    without a pixel.

    Args:
        source: the annotations.
        entries: images of it.
        options: gives the classes.
        transform: joint transform of an item.

    Attributes:
        classes: "background" and the K labels; ``num_classes`` is K + 1.
    """

    def __init__(
        self,
        source: RegionSource,
        entries: Sequence[Entry],
        options: ReadOptions,
        transform: Callable[[Sample], Sample] | None = None,
    ):
        self.source, self.entries, self.transform = source, list(entries), transform
        self.options = replace(options, unlabeled="background")
        names = source.class_names(self.options)
        # The detectors' background is class 0.
        self.classes = (BACKGROUND, *(name for name in names if name != BACKGROUND))
        self.num_classes = len(self.classes)
        self.palette: Sequence[Color] = source.palette(self.classes) or voc_palette(self.num_classes)
        self.image_max = options.image_max
        self.annotation_files = source.annotation_files
        self._table = {name: k for k, name in enumerate(self.classes)} | {IGNORED: 0}

    @property
    def images(self) -> list[Path]:
        """The image files."""
        return [entry.image for entry in self.entries]

    @property
    def label_files(self) -> list[Path]:
        """The annotation file, or FILE/INDEX, of each image."""
        return [entry.key for entry in self.entries]

    def __len__(self) -> int:
        return len(self.entries)

    def __getitem__(self, index: int) -> Sample:
        entry = self.entries[index]
        image = tv_tensors.Image(load_image(entry.image, self.options.in_chans or 3, self.options.image_max))
        size = tuple(image.shape[-2:])
        found: dict[Hashable, tuple[np.ndarray, int, bool]] = {}
        for number, (k, region) in enumerate(self._regions(entry.key, size)):
            name: Hashable = number if region.group is None else (k, region.group)
            if name not in found:
                found[name] = region.patch.whole(size), k, region.crowd
            else:
                found[name][0][region.patch.place] |= region.patch.mask
        drawn = [mask for mask, _, _ in found.values()]
        masks = torch.from_numpy(np.stack(drawn) if drawn else np.zeros((0, *size), dtype=bool))
        sample = {
            "image": image,
            "boxes": tv_tensors.BoundingBoxes(masks_to_boxes(masks), format="XYXY", canvas_size=size),
            "labels": torch.tensor([k for _, k, _ in found.values()], dtype=torch.int64),
            "masks": tv_tensors.Mask(masks),
            "iscrowd": torch.tensor([crowd for *_, crowd in found.values()], dtype=torch.int64),
            "image_id": self.source.index_of[entry.key],
        }
        return self.transform(sample) if self.transform else sample

    def _regions(self, key: Path, size: Size) -> Iterator[tuple[int, Region]]:
        """Yield class and region of what has pixels and is no background."""
        for region in self.source.regions(key, size):
            k = _class_of(region, self._table, key)
            if k and region.patch.mask.any():
                yield k, region

    def numbered(self, index: int) -> np.ndarray:
        """Return the instances of an image as one map, int32 (H, W): 0 = none, k = instance k, later over earlier.

        Crowds are left out.
        """
        key = self.entries[index].key
        size = self.source.size(key)
        numbers: dict[Hashable, int] = {}
        patches = (
            (
                region.patch,
                numbers.setdefault((k, region.group) if region.group is not None else number, len(numbers) + 1),
            )
            for number, (k, region) in enumerate(self._regions(key, size))
            if not region.crowd
        )
        return draw_patches(patches, size, 0, np.int32)

    def subset(self, indices: Iterable[int]) -> RegionInstances:
        """Return the data set of these images only, in this order."""
        part = copy.copy(self)
        part.entries = [self.entries[i] for i in indices]
        return part
