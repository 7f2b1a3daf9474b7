"""Training and validation splits of a data set."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from ..utils.progress import Progress
from .annotated import annotated_splits, find_format, require_class_list
from .annotations.formats import PLAIN
from .check.check import require_valid_folder
from .classes import class_names
from .create import AnyDataset, check_options, create_dataset, dataset_for_task, default_splits
from .datasets.folder import FolderDataset
from .files.pairs import FolderLayout
from .label_format import LabelFormat


@dataclass(frozen=True)
class FolderOptions:
    """Options to read and split a folder of images and labels.

    Args:
        ignore_index: value of pixels that do not count.
        label_format: encoding of the classes in the label files.
        images, labels: patterns of the files' names, see :class:`~gatezoo.data.files.pairs.FolderLayout`.
        val_fraction: share of the images to hold out if the folder has no validation part.
        seed: seed of the draw of these images.
        check: check every file first (see :func:`~gatezoo.data.check.check.check_folder`).
        in_chans, image_max: see :func:`~gatezoo.utils.images.load_image`.
        format: a key of :data:`~gatezoo.data.annotations.formats.FORMATS`, or "plain"; None: guessed.
        unlabeled: "background" or "ignore", see :class:`~gatezoo.data.annotations.source.ReadOptions`.
        progress: to draw a progress bar of the check.
    """

    ignore_index: int = 255
    label_format: LabelFormat = field(default_factory=LabelFormat)
    images: str | None = None
    labels: str | None = None
    val_fraction: float = 0.2
    seed: int = 0
    check: bool = False
    in_chans: int | None = 3
    image_max: float | None = None
    format: str | None = None
    unlabeled: str | None = None
    progress: Progress | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.val_fraction <= 1:
            raise ValueError(f"val_fraction must be in 0 .. 1; got {self.val_fraction}: 0.2 is usual")

    @property
    def layout(self) -> FolderLayout:
        """Names of the files; a pattern of the labels takes the place of their suffix."""
        return FolderLayout(
            self.images, self.labels, FolderLayout.label_suffix if self.labels else self.label_format.suffix
        )

    def folder_kwargs(self) -> dict[str, Any]:
        """Return how to read a folder, as keyword arguments of ``FolderDataset`` and ``check_folder``."""
        kwargs = self.label_format.folder_kwargs() | {"layout": self.layout}
        return kwargs | {"ignore_index": self.ignore_index, "in_chans": self.in_chans, "image_max": self.image_max}


def create_splits(
    data_dir: str | os.PathLike,
    dataset: str = "folder",
    train_split: str | None = None,
    val_split: str | None = None,
    val: str | os.PathLike | None = None,
    classes: str | None = None,
    folder: FolderOptions | None = None,
    task: str = "semantic",
    options: Mapping[str, Any] | None = None,
) -> tuple[AnyDataset, AnyDataset]:
    """Open the training and the validation split of a data set.

    Args:
        data_dir: folder of the data set.
        dataset: a key of ``DATASETS``, or "folder" for a folder of images and labels, or of annotations in a format of
            :data:`~gatezoo.data.annotations.formats.FORMATS`.
        train_split: split to train on; default: that of :func:`~gatezoo.data.create.default_splits`. Of a folder, the
            subfolder of that name; by default "train" if it exists, else the folder itself.
        val_split: split to evaluate on; default: that of the same function. Of a folder, the subfolder of that name; by
            default "val" if it exists, else a share of the training images is held out.
        val: another folder that holds the data to evaluate on; of a folder of images and labels, with ``val_split``
            the subfolder of that name in it.
        classes: of a folder: see :func:`~gatezoo.data.classes.class_names`; default: those of the annotations, or of
            ``classes.txt`` in the folder.
        folder: how to read and split a folder.
        task: task of the network. Label maps have no instances.
        options: keywords of the reader, such as ``depth=True``; of a folder, ``depth`` is the metres of one unit.

    Raises:
        ValueError: no data set of that name, task or layout; with ``check``, the first error of the files.
    """
    root = Path(data_dir)
    folder = folder or FolderOptions()
    dataset = dataset_for_task(dataset, task)
    if dataset != "folder":
        if folder.format or folder.unlabeled:
            raise ValueError(f"--format and --unlabeled must be given for folders only; got them for {dataset}")
        if folder.image_max is not None:
            raise ValueError(f"image_max must be given for folders only; got {folder.image_max} for {dataset}: drop it")
        if not folder.layout.is_default:
            raise ValueError(
                f"patterns of images and labels must be given for folders only; got them for {dataset}: drop them"
            )
        train_default, val_default = default_splits(dataset)
        return (
            create_dataset(dataset, root, train_split or train_default, **(options or {})),
            create_dataset(dataset, val or root, val_split or val_default, **(options or {})),
        )
    if (name := find_format(root, folder, task)) != PLAIN:
        if options:
            raise ValueError(f"the options of {name} are none; got {next(iter(options))!r}")
        splits, other = (train_split, val_split), Path(val) if val else None
        train_data, val_data = annotated_splits(root, splits, other, name, folder, classes, task)
        if val_data is None:
            return random_split(train_data, folder.val_fraction, folder.seed)
        return train_data, val_data
    classes = require_class_list(root, classes)
    train_dir = root / (train_split or "train")
    val_dir = Path(val) / (val_split or "") if val else root / (val_split or "val")
    return _folder_splits(
        train_dir if train_split or os.path.isdir(train_dir) else root,
        val_dir if val or val_split or os.path.isdir(val_dir) else None,
        classes,
        folder,
        options or {},
    )


def _folder_splits(
    train_dir: Path, val_dir: Path | None, classes: str, folder: FolderOptions, options: Mapping[str, Any]
) -> tuple[AnyDataset, AnyDataset]:
    """Open folders of images and labels to train and to evaluate on; without the latter, split the former."""
    check_options("folder", FolderDataset, options)
    names, palette = class_names(classes)
    kwargs = folder.folder_kwargs()
    if folder.check:
        for root in (train_dir, val_dir):
            if root:
                require_valid_folder(root, names, **kwargs, progress=folder.progress)
    kwargs |= {"palette": palette, **options}
    train_data = FolderDataset(train_dir, names, **kwargs)
    if val_dir is None:
        return random_split(train_data, folder.val_fraction, folder.seed)
    return train_data, FolderDataset(val_dir, names, **kwargs)


def random_split(data: AnyDataset, fraction: float, seed: int) -> tuple[AnyDataset, AnyDataset]:
    """Split a data set at random into all but a fraction of the images, and that fraction.

    Raises:
        ValueError: a fraction that leaves no image on one side.
    """
    count = round(fraction * len(data))
    if not 1 <= count < len(data):
        raise ValueError(
            f"val_fraction of the {len(data)} images must leave some on both sides; {fraction} holds out {count}"
        )
    order = torch.randperm(len(data), generator=torch.Generator().manual_seed(seed)).tolist()
    return data.subset(sorted(order[count:])), data.subset(sorted(order[:count]))
