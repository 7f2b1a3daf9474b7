"""Data sets by name."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Iterable
from typing import Any

from ..utils.choices import check_choice
from .annotations.regions import RegionInstances
from .base import Sample, SegmentationDataset
from .datasets import (
    ade20k,
    camvid,
    cityscapes,
    coco,
    coco_stuff,
    nuclei,
    nyuv2,
    pascal_context,
    stanford2d3d,
    sunrgbd,
    voc,
)
from .datasets.coco import CocoInstances
from .instances import InstanceMaskDataset

AnyDataset = SegmentationDataset | CocoInstances | InstanceMaskDataset | RegionInstances

# Readers by name: reader(root, split, transform=None, *, further keywords).
DATASETS: dict[str, Callable[..., AnyDataset]] = {
    "ade20k": ade20k.ade20k,
    "camvid": camvid.camvid,
    "cityscapes": cityscapes.cityscapes,
    "coco": coco.coco,
    "coco_semantic": coco.coco_semantic,
    "cocostuff10k": coco_stuff.cocostuff10k,
    "nuclei": nuclei.nuclei,
    "nuclei_instances": nuclei.nuclei_instances,
    "nyuv2": nyuv2.nyuv2,
    "nyuv2_folder": nyuv2.nyuv2_folder,
    "pascal_context": pascal_context.pascal_context,
    "stanford2d3d": stanford2d3d.stanford2d3d,
    "sunrgbd": sunrgbd.sunrgbd,
    "voc12": voc.voc12,
}

# Splits to train and to evaluate on by default, of the data sets that have no "train" or no labeled "val".
_DEFAULT_SPLITS = {
    "coco": ("train2017", "val2017"),
    "coco_semantic": ("train2017", "val2017"),
    "cocostuff10k": ("train", "test"),
    "nyuv2": ("train", "test"),
    "sunrgbd": ("train", "test"),
}

# A data set with both kinds of labels has two readers; the name of one may be used for the task of the other.
_READERS_OF_TASKS = {
    ("coco", "semantic"): "coco_semantic",
    ("coco_semantic", "instance"): "coco",
    ("nuclei", "instance"): "nuclei_instances",
    ("nuclei_instances", "semantic"): "nuclei",
}


def dataset_for_task(name: str, task: str) -> str:
    """Return the key of ``DATASETS`` that reads a data set for a task: ("nuclei", "instance") -> "nuclei_instances"."""
    return _READERS_OF_TASKS.get((name, task), name)


def default_splits(name: str) -> tuple[str, str]:
    """Return the splits of a data set to train and to evaluate on by default."""
    return _DEFAULT_SPLITS.get(name, ("train", "val"))


def create_dataset(
    name: str,
    root: str | os.PathLike,
    split: str,
    transform: Callable[[Sample], Sample] | None = None,
    **options: Any,
) -> AnyDataset:
    """Open a data set by name.

    Args:
        name: a key of ``DATASETS``.
        root: its folder; the reader's module describes the layout.
        split: "train", "val" or another split of the reader.
        transform: joint transform of an item.
        options: keywords of the reader, such as ``depth=True``.

    Raises:
        ValueError: an unknown name, split or option; an unexpected layout.
    """
    reader = DATASETS[check_choice("a data set", name, DATASETS)]
    check_options(name, reader, options)
    return reader(root, split, transform, **options)


def check_options(name: str, reader: Callable[..., AnyDataset], options: Iterable[str]) -> None:
    """Raise ValueError, naming the data set, for an option that is not a keyword of its reader."""
    names = [p.name for p in inspect.signature(reader).parameters.values() if p.kind is p.KEYWORD_ONLY]
    for option in options:
        if option not in names:
            raise ValueError(f"the options of {name} are {', '.join(names) or 'none'}; got {option!r}")
