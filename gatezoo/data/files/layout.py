"""Checks of how a data set lies on disk. Errors name what is missing and the expected layout."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

# The parts of which each split consists, of a data set with labels for training and validation.
TRAIN_VAL = {"train": ("train",), "val": ("val",), "trainval": ("train", "val")}


def check_layout(name: str, tree: str, *paths: Path) -> None:
    """Check that all of these files and folders exist.

    Args:
        name: of the data set.
        tree: the expected layout, in one line.
        paths: the files and folders.

    Raises:
        ValueError: a missing path; names the first one, and the tree.
    """
    for path in paths:
        if not os.path.exists(path):
            raise ValueError(f"{name} must be laid out as {tree}; there is no {path}")


def read_ids(path: Path) -> list[str]:
    """Return the first word of each line of a list of names, without empty lines."""
    return [line.split()[0] for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]


def list_paths(folder: Path) -> list[Path]:
    """Return what lies in a folder.

    Raises:
        ValueError: the folder cannot be read.
    """
    try:
        return list(folder.iterdir())  # which makes paths without parsing them
    except OSError as error:
        raise ValueError(f"a folder of data must be readable; {folder} is not: {error.strerror}") from None


def list_files(folder: Path, suffixes: Sequence[str]) -> list[Path]:
    """Return the files of a folder with one of these suffixes, sorted, without hidden files.

    Raises:
        ValueError: the folder cannot be read.
    """
    paths = [path for path in list_paths(folder) if path.suffix.lower() in suffixes and path.name[0] != "."]
    return sorted(paths, key=lambda path: path.name)  # comparing paths is slow


def missing_files(paths: Iterable[Path]) -> list[Path]:
    """Return the paths that do not exist.

    Each folder is listed once: asking file by file takes hours on a slow network disk.
    """
    by_folder: dict[Path, list[Path]] = defaultdict(list)
    for path in paths:
        by_folder[path.parent].append(path)
    missing = []
    for folder, members in by_folder.items():
        existing = {path.name for path in folder.iterdir()} if os.path.isdir(folder) else set()
        missing += [path for path in members if path.name not in existing]
    return missing


def fold_suffix(name: str) -> str:
    """Return the name of a file with its suffix in small letters: "A.PNG" -> "A.png"."""
    stem, suffix = os.path.splitext(name)
    return stem + suffix.lower()


def check_files_exist(name: str, *groups: Sequence[Path]) -> None:
    """Check that every file of these groups exists and that the first group is not empty.

    Raises:
        ValueError: no files, or missing ones; names the first of them and their number.
    """
    if not groups[0]:
        raise ValueError(f"{name} must hold images; this part of it has none: check that the download is complete")
    missing = missing_files(path for group in groups for path in group)
    if missing:
        raise ValueError(f"{name} must be complete; {len(missing)} files are missing, first {missing[0]}")


def match_files(images: Sequence[Path], source: Path, endings: Sequence[str], what: str) -> list[Path]:
    """Return the file that belongs to each image, such as its labels.

    Args:
        images: the image files.
        source: the file of a single image; or a folder that holds STEM + ENDING for each, its suffix in any case.
        endings: of a file's name, after the stem of its image; the first that exists is taken.
        what: these files in messages, with the option that gives them.

    Raises:
        ValueError: one file for several images, or a folder that lacks the file of an image.
    """
    if not os.path.isdir(source):
        if len(images) > 1:
            raise ValueError(f"{what} must be a folder for {len(images)} images; got {source}: pass its folder")
        return [source] * len(images)
    try:
        names = {fold_suffix(name): name for name in sorted(os.listdir(source), reverse=True)}
    except OSError as error:
        raise ValueError(f"{what} must be a readable folder; {source} is not: {error.strerror}") from None
    expected_names = ([fold_suffix(f"{image.stem}{ending}") for ending in endings] for image in images)
    found = [next((names[name] for name in expected if name in names), None) for expected in expected_names]
    missing = [image for image, name in zip(images, found) if name is None]
    if missing:
        expected = " or ".join(f"{missing[0].stem}{ending}" for ending in endings)
        raise ValueError(
            f"{what} must exist for each image; {source} lacks {len(missing)} of {len(images)}, first {expected}"
        )
    return [source / name for name in found if name is not None]
