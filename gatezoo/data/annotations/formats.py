"""Formats of annotations by name, and the guess which of them a folder holds."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from ...utils.choices import check_choice
from ...utils.images import IMAGE_SUFFIXES
from ..files.layout import list_paths
from ..files.pairs import IMAGE_DIR, LABEL_DIR
from . import coco, cvat, hf, labelme, numbered, voc, yolo
from .numbered import SPLITS
from .source import Source


class Format(NamedTuple):
    """A format of annotations.

    Attributes:
        find: function from a folder to what shows that it holds the format, such as "12 files"; None if nothing does.
        open_source: function that opens a folder.
        open_stream: function that opens it to read it once, in order, if that is another one.
    """

    find: Callable[[Path], str | None]
    open_source: Callable[[Path], Source]
    open_stream: Callable[[Path], Source] | None = None


# Images and label maps in a folder each, which FolderDataset reads and no Source.
PLAIN = "plain"

FORMATS: dict[str, Format] = {
    "labelme": Format(labelme.find, labelme.open_source),
    "yolo": Format(yolo.find, yolo.open_source),
    "coco": Format(coco.find, coco.open_source),
    "cvat": Format(cvat.find, cvat.open_source),
    "voc": Format(voc.find, voc.open_source),
    "numbered": Format(numbered.find, numbered.open_source),
    "hf": Format(hf.find, hf.open_source, hf.open_stream),
}
# Formats of images with label maps, whose encoding has options.
LABEL_MAPS = (PLAIN, "hf")


class Guess(NamedTuple):
    """The format that a folder holds.

    Attributes:
        name: a key of ``FORMATS``, or ``PLAIN``.
        evidence: what shows it.
    """

    name: str
    evidence: str

    def __str__(self) -> str:
        return f"format: {self.name}, {self.evidence}"


def guess_format(root: Path, task: str = "semantic") -> Guess | None:
    """Return the format of a folder; None if it holds none that is known.

    Args:
        root: the folder.
        task: "instance" leaves out what has no instances. Images with label maps and numbered masks are plain as
            classes, numbered as instances.

    Raises:
        ValueError: it could be several.
    """
    if not (hf.is_hub(root) or os.path.isdir(root)):
        return None
    found = [Guess(name, evidence) for name, row in FORMATS.items() if (evidence := row.find(root)) is not None]
    if plain := _find_plain(root):
        if task == "semantic":
            found = [guess for guess in found if guess.name != "numbered"]
        if task == "semantic" or not found:
            found.append(Guess(PLAIN, plain))
    if len(found) > 1:
        names = " or ".join(f"{guess.name} ({guess.evidence})" for guess in found)
        raise ValueError(
            f"the format of a data folder must be clear; {root} could be {names}: pass --format {found[0].name} or "
            "another of them"
        )
    return found[0] if found else None


def open_source(root: Path, name: str, once: bool = False) -> Source:
    """Open a folder in a format.

    Args:
        root: the folder.
        name: a key of ``FORMATS``.
        once: for reading ``parts()`` once, in order.

    Raises:
        ValueError: no such format; files that are not in it.
    """
    found = FORMATS[check_choice("the format", name, FORMATS)]
    return ((once and found.open_stream) or found.open_source)(Path(root))


def _find_plain(root: Path) -> str | None:
    """Return the number of label maps beside images; None if there are none."""
    folders = [folder for folder in (root, *(root / name for name in SPLITS)) if os.path.isdir(folder / IMAGE_DIR)]
    paths = [path for folder in folders if os.path.isdir(folder / LABEL_DIR) for path in list_paths(folder / LABEL_DIR)]
    count = sum(path.suffix.lower() in IMAGE_SUFFIXES for path in paths)
    return f"{count} label maps" if count else None
