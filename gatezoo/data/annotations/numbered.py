"""Reader of numbered masks: ``images/NAME.jpg`` and ``instances/NAME.png``, 0 = background, k = instance k.

Instance maps have 8 or 16 bits. All instances are of one class, "object" unless another is given; with
``labels/NAME.png`` (and names in ``classes.txt``) an instance is of the class that most of its pixels have there.
Splits: ``train/images``, ``val/images`` and so on.
"""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

import numpy as np

from ...utils.images import IMAGE_SUFFIXES, load_image
from ..classes import read_classes
from ..files.issue import Issue
from ..files.labels import Decoder, foreground_png, index_png
from ..files.layout import list_files, missing_files
from ..files.pairs import IMAGE_DIR, LABEL_DIR
from ..instances import InstanceMaskDataset
from .source import BACKGROUND, Entry, ReadOptions, Source

INSTANCE_DIR = "instances"
CLASS_FILE = "classes.txt"
DEFAULT_CLASS = "object"
SPLITS = ("train", "val", "test")


def find(root: Path) -> str | None:
    """Return what shows that a folder holds numbered masks; None if nothing does."""
    parts = _parts(root)
    return f"{sum(len(list_files(part / INSTANCE_DIR, ('.png',))) for part in parts.values())} maps" if parts else None


def open_source(root: Path) -> NumberedSource:
    """Open a folder of numbered masks."""
    return NumberedSource(root)


class NumberedSource(Source):
    """Images with instance maps."""

    name = "numbered"

    def __init__(self, root: Path):
        parts = _parts(root)
        if not parts:
            raise ValueError(f"numbered masks must lie in the folders images and instances; {root} has none")
        images = [
            (image, split) for split, part in parts.items() for image in list_files(part / IMAGE_DIR, IMAGE_SUFFIXES)
        ]
        entries = [
            Entry(image, image.parents[1] / INSTANCE_DIR / f"{image.stem}.png", split) for image, split in images
        ]
        absent = set(missing_files([entry.key for entry in entries]))
        issues = [
            Issue("unlabeled", entry.image, f"has no {INSTANCE_DIR}/{entry.key.name}")
            for entry in entries
            if entry.key in absent
        ]
        self.has_labels = any((part / LABEL_DIR).is_dir() for part in parts.values())
        classes = root / CLASS_FILE
        labels: tuple[str, ...] = (DEFAULT_CLASS,)
        if self.has_labels and classes.is_file():
            labels = read_classes(classes)[0]
        super().__init__(root, labels, [entry for entry in entries if entry.key not in absent], issues)

    def class_names(self, options: ReadOptions) -> tuple[str, ...]:
        """Return the names of the classes, the background first."""
        names = super().class_names(options)
        if names[0] != BACKGROUND or (len(names) > 2 and not self.has_labels):
            raise ValueError(
                f"classes of numbered masks must be the background and one class more, or labels/ must tell them; got "
                f"{', '.join(names)} for {self.root}"
            )
        return names

    def decoder(self, options: ReadOptions) -> Decoder:
        """Return the function that reads the classes of the instances; without labels, as background and instances."""
        return _read_labels if self.has_labels else foreground_png

    def instances(self, split: str | None, options: ReadOptions) -> InstanceMaskDataset:
        """Open the instances of a split."""
        entries, names = self.of_split(split), self.class_names(options)
        return InstanceMaskDataset(
            [entry.image for entry in entries],
            [entry.key for entry in entries],
            names[1:],
            class_files=[_label_file(entry.key) for entry in entries] if self.has_labels else (),
            read_image=partial(load_image, in_chans=options.in_chans or 3, image_max=options.image_max),
        )


def _label_file(instances: Path) -> Path:
    return instances.parents[1] / LABEL_DIR / instances.name


def _read_labels(instances: Path) -> np.ndarray:
    return index_png(_label_file(instances))


def _parts(root: Path) -> dict[str, Path]:
    """Return the folders with images and instances, by split: {"": root} or {"train": root/train, ...}."""
    folders = {"": root, **{name: root / name for name in SPLITS}}
    found = {
        name: folder
        for name, folder in folders.items()
        if os.path.isdir(folder / IMAGE_DIR) and os.path.isdir(folder / INSTANCE_DIR)
    }
    return {"": root} if "" in found else found
