"""A user's folder of annotated images: its format, its splits, and the check of its files."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ..utils.choices import check_choice
from .annotations.formats import FORMATS, LABEL_MAPS, PLAIN, guess_format, open_source
from .annotations.hf import is_hub
from .annotations.numbered import CLASS_FILE, SPLITS
from .annotations.source import BACKGROUND, ReadOptions, Source
from .check.check import check_folder, check_source, require_valid
from .check.report import Report
from .classes import class_names, parse_classes
from .files.pairs import IMAGE_DIR
from .label_format import LabelFormat

if TYPE_CHECKING:
    from .create import AnyDataset
    from .splits import FolderOptions

_log = logging.getLogger("gatezoo")


def find_format(root: Path, folder: FolderOptions, task: str = "semantic") -> str:
    """Return the format of a folder: a key of ``FORMATS``, or ``PLAIN`` for images and label maps.

    It is guessed, and what is not plain is logged, unless it is given; patterns of names make it plain.

    Raises:
        ValueError: a format that is not known or not clear, none with instances for such a task, or options of label
            maps for annotations of another kind.
    """
    if folder.format:
        name = check_choice("the format", folder.format, (PLAIN, *FORMATS))
    elif not (is_hub(root) or folder.layout.is_default):
        name = PLAIN
    else:
        guess = guess_format(root, task)
        if guess and guess.name != PLAIN:
            _log.info("%s", guess)
        name = guess.name if guess else PLAIN
    if name == PLAIN and task == "instance":
        raise ValueError(
            "instances must come from a data set that has them; a folder has none: pass --dataset coco, or a folder of "
            f"{', '.join(name for name in FORMATS if name not in LABEL_MAPS)}"
        )
    if name not in LABEL_MAPS and folder.label_format != LabelFormat():
        raise ValueError(
            f"--rgb, --label-map, --reduce-zero-label and --label-suffix are for label maps; {root} is read as {name}: "
            "leave them out, or pass --format plain"
        )
    if name in LABEL_MAPS and folder.unlabeled:
        raise ValueError(f"--unlabeled is for annotated regions; {root} has label maps: pass --ignore-index instead")
    return name


def check_any(root: Path, folder: FolderOptions, classes: str | None) -> list[Report]:
    """Check a folder in any format, and return a report of each part: see :func:`~.check.check.check_folder`.

    Args:
        root: the folder.
        folder: how to read it.
        classes: see :func:`~gatezoo.data.classes.parse_classes`; None: the labels of the annotations, ``classes.txt``
            in the folder, or as many as the label maps hold.
    """
    name = find_format(root, folder)
    if name != PLAIN:
        names = class_names(classes)[0] if classes else None
        return [check_source(open_source(root, name, once=True), read_options(folder, names), progress=folder.progress)]
    found = parse_classes(find_class_list(root, classes))[0]
    parts = plain_parts(root).values() if folder.layout.is_default else [root]
    return [check_folder(part, found, **folder.folder_kwargs(), progress=folder.progress) for part in parts]


def plain_parts(root: Path) -> dict[str, Path]:
    """Return the folders of images and label maps: {"train": root/train, ...}, or {"": root} without splits."""
    parts = {name: root / name for name in SPLITS if os.path.isdir(root / name / IMAGE_DIR)}
    return {"": root} if os.path.isdir(root / IMAGE_DIR) or not parts else parts


def find_class_list(root: Path, classes: str | None) -> str | None:
    """Return the class list of images and label maps: the given one, else ``classes.txt`` in the folder or around it.

    Around it: if the folder is a split, such as ``train``.
    """
    files = [root / CLASS_FILE, *([root.parent / CLASS_FILE] if root.name in SPLITS else ())]
    return next((str(file) for file in files if os.path.isfile(file)), None) if classes is None else classes


def require_class_list(root: Path, classes: str | None) -> str:
    """Return what :func:`find_class_list` does, or raise ValueError if there is none."""
    if (found := find_class_list(root, classes)) is None:
        raise ValueError("a folder of images and labels needs classes: pass --classes NAME,NAME,... or --classes FILE")
    return found


def open_annotated(
    root: Path, split: str | None, name: str, folder: FolderOptions, classes: Sequence[str] | None, task: str
) -> AnyDataset:
    """Open a split of a folder in a format of annotations, after a check of its files if ``folder`` asks for it.

    Args:
        root: the folder.
        split: a split, or a folder in it; None: all images.
        name: a key of ``FORMATS``.
        folder: how to read it.
        classes: their names; None: the labels of the annotations.
        task: "semantic" or "instance".
    """
    return _open_part(open_source(root, name), split, folder, classes, task)


def open_evaluated(
    root: Path, split: str | None, folder: FolderOptions, classes: Sequence[str], task: str, is_encoding_given: bool
) -> AnyDataset | None:
    """Open a folder that a model is evaluated on; None if it holds images and label maps.

    Args:
        root: the folder.
        split: a split, or a folder in it; None: "val" if the annotations have splits, else all images.
        folder: how to read it.
        classes: those of the model. If there is no background, pixels without a region do not count.
        task: of the model.
        is_encoding_given: whether the encoding of label maps is that of this data and not that of the training data.
    """
    given = folder if is_encoding_given else replace(folder, label_format=LabelFormat())
    if (name := find_format(root, given, task)) == PLAIN:
        return None
    folder = folder if name in LABEL_MAPS else given
    source = open_source(root, name)
    if split is None and "val" in source.splits:
        split = "val"
    unlabeled = folder.unlabeled or ("background" if BACKGROUND in classes else "ignore")
    return _open_part(source, split, replace(folder, unlabeled=unlabeled), classes, task)


def annotated_splits(
    root: Path, splits: tuple[str | None, str | None], val: Path | None, name: str, folder: FolderOptions,
    classes: str | None, task: str,
) -> tuple[AnyDataset, AnyDataset | None]:  # fmt: skip
    """Open what to train on, and what to evaluate on; None in its place if it must be held out.

    Args:
        root: the folder.
        splits: names of the two; None: "train" and "val" where the annotations have them, else all of them.
        val: another folder, in the same format, to evaluate on.
        name: a key of ``FORMATS``.
        folder: how to read the folders.
        classes: see :func:`~gatezoo.data.classes.class_names`; None: the labels of the annotations.
        task: "semantic" or "instance".
    """
    names, palette = class_names(classes) if classes else (None, None)
    if classes and classes.isdecimal() and name not in LABEL_MAPS:
        raise ValueError(f"classes of annotations must be names; got {classes}: leave --classes out, or list the names")
    source, options = open_source(root, name), read_options(folder, names)
    train_split, val_split = splits
    train_split = train_split or ("train" if source.splits else None)
    val_split = val_split or ("val" if "val" in source.splits else None)
    train_data = _open(source, train_split, options, folder, task)
    val_data: AnyDataset | None = None
    if val:  # whose labels may be fewer
        val_data = open_annotated(val, splits[1], name, folder, train_data.classes, task)
    elif val_split:
        val_data = source.instances(val_split, options) if task == "instance" else source.semantic(val_split, options)
    if palette and len(palette) == train_data.num_classes:
        train_data.palette = palette
    return train_data, val_data


def read_options(folder: FolderOptions, classes: Sequence[str] | None) -> ReadOptions:
    """Return the options of annotations."""
    unlabeled = folder.unlabeled or "background"
    columns = (folder.images, folder.labels)
    return ReadOptions(
        classes, unlabeled, folder.ignore_index, folder.in_chans, folder.image_max, folder.label_format, columns
    )


def _open_part(
    source: Source, split: str | None, folder: FolderOptions, classes: Sequence[str] | None, task: str
) -> AnyDataset:
    """Open a split, or the folder of that name in the source's folder."""
    if split and split not in source.splits and os.path.isdir(source.root / split):
        source, split = open_source(source.root / split, source.name), None
    return _open(source, split, read_options(folder, classes), folder, task)


def _open(source: Source, split: str | None, options: ReadOptions, folder: FolderOptions, task: str) -> AnyDataset:
    if task == "instance" and not source.has_instances:
        raise ValueError(f"instances must be separate in the annotations; {source.root} ({source.name}) has none")
    if folder.check:
        require_valid(check_source(source, options, progress=folder.progress))
    return source.instances(split, options) if task == "instance" else source.semantic(split, options)
