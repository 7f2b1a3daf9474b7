"""Looking at how a data set lies on disk: what is missing is said with the tree that was expected."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path


def check_layout(name: str, tree: str, *paths: Path) -> None:
    """All of these files and folders must be there.

    Args:
        name: of the data set.
        tree: the expected layout, in one line.

    Raises:
        ValueError: naming the first path that is missing, and the tree.
    """
    for path in paths:
        if not path.exists():
            raise ValueError(f"{name} must be laid out as {tree}; there is no {path}")


def read_ids(path: Path) -> list[str]:
    """First word of each line of a list of names, empty lines left out."""
    return [line.split()[0] for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]


def list_files(folder: Path, suffixes: Sequence[str]) -> list[Path]:
    """Sorted files of a folder with one of these suffixes; what begins with a dot is the file system's own business."""
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in suffixes and path.name[0] != ".")


def missing_files(paths: Iterable[Path]) -> list[Path]:
    """Those that do not exist. Each folder is listed once: asking file by file takes hours on a slow network disk."""
    by_folder: dict[Path, list[Path]] = defaultdict(list)
    for path in paths:
        by_folder[path.parent].append(path)
    missing = []
    for folder, members in by_folder.items():
        there = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
        missing += [path for path in members if path.name not in there]
    return missing


def check_files_exist(name: str, *groups: Sequence[Path]) -> None:
    """Every file of these groups must be there, and there must be some.

    Raises:
        ValueError: naming the first that is missing and their number.
    """
    if not groups[0]:
        raise ValueError(f"{name} must hold images; this part of it has none: is the download complete?")
    missing = missing_files(path for group in groups for path in group)
    if missing:
        raise ValueError(f"{name} must be complete; {len(missing)} files are missing, first {missing[0]}")
