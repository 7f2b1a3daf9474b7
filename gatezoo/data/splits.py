"""Open the training and validation split of a data set."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from . import FolderDataset, create_dataset, dataset_for_task
from .base import SegmentationDataset
from .check.check import check_folder
from .classes import class_names

Splits = tuple[SegmentationDataset, SegmentationDataset]


def _folder_splits(
    roots: tuple[Path, Path | None],
    classes: str | None,
    ignore_index: int,
    labels: Mapping[str, Any],
    val_fraction: float,
    seed: int,
    check: bool,
    options: Mapping[str, Any] | None = None,
) -> Splits:
    """One's own folders of images and labels: to train on, and to evaluate on (None: a share of the first).

    Args:
        labels: keywords of :class:`gatezoo.data.FolderDataset` that say how to read labels.
        check: look at every file first.
        options: further keywords of that class.
    """
    if classes is None:
        raise ValueError("a folder of one's own needs classes: give their names, or a file of them")
    names, palette = class_names(classes)
    if check:
        for root in filter(None, roots):
            check_folder(root, names, ignore_index, **labels).raise_errors()
    told = {**labels, **(options or {})}
    both = [FolderDataset(root, names, ignore_index, palette=palette, **told) for root in roots if root]
    return tuple(both) if len(both) == 2 else random_split(both[0], val_fraction, seed)


def create_splits(
    data_dir: str | os.PathLike,
    dataset: str = "folder",
    train_split: str | None = None,
    val_split: str | None = None,
    val: str | os.PathLike | None = None,
    classes: str | None = None,
    ignore_index: int = 255,
    labels: Mapping[str, Any] | None = None,
    val_fraction: float = 0.2,
    seed: int = 0,
    check: bool = False,
    task: str = "semantic",
    options: Mapping[str, Any] | None = None,
) -> Splits:
    """What to train on and what to evaluate on.

    Args:
        data_dir: folder of the data set.
        dataset: a reader of :mod:`gatezoo.data`; "folder" for one's own, which needs ``classes``.
        train_split, val_split: parts of it, by default "train" and "val". Of a folder: the folders of that name in it
            where there are any; else it is itself trained on.
        val: another folder to evaluate on. Without it, and without a part to evaluate on, a share ``val_fraction`` of a
            folder's images is held out, drawn by ``seed``.
        labels, check: see :func:`_folder_splits`.
        task: of the network. A folder of one's own holds classes; objects come in the format of COCO or as nuclei.
        options: keywords of the reader, such as ``depth=True``; of a folder, ``depth`` is the metres of one unit.
    """
    root = Path(data_dir)
    if task == "instance" and dataset == "folder":
        raise ValueError("objects must come from a data set of instances; a folder has none: --dataset coco, say")
    dataset = dataset_for_task(dataset, task)
    if dataset != "folder":
        return (
            create_dataset(dataset, root, train_split or "train", **(options or {})),
            create_dataset(dataset, val or root, val_split or "val", **(options or {})),
        )
    inner = root / (train_split or "train")
    held = Path(val) if val else root / (val_split or "val")
    roots = (inner if train_split or inner.is_dir() else root, held if val or val_split or held.is_dir() else None)
    return _folder_splits(roots, classes, ignore_index, labels or {}, val_fraction, seed, check, options)


def random_split(data: SegmentationDataset, share: float, seed: int) -> Splits:
    """Split a data set: all but a share of the images, and that share, drawn by the seed."""
    count = round(share * len(data))
    if not 1 <= count < len(data):
        raise ValueError(
            f"val_fraction of the {len(data)} images must leave some on both sides; {share} holds out {count}"
        )
    order = torch.randperm(len(data), generator=torch.Generator().manual_seed(seed)).tolist()
    return data.subset(sorted(order[count:])), data.subset(sorted(order[:count]))
