"""The check of a folder of pictures and labels before training: what is wrong, and what is in it."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from ...utils.images import PICTURE_SUFFIXES
from ..files.labels import Colour
from ..files.layout import visible
from .inspect import Seen, see
from .report import Problem, Report
from .rules import Judge

__all__ = ["Problem", "Report", "check_folder"]


def check_folder(
    root: str | os.PathLike,
    classes: int | Sequence[str] | None = None,
    ignore_index: int = 255,
    *,
    color_table: Sequence[Colour] | Mapping[Colour, int] | None = None,
    reduce_zero_label: bool = False,
    ids: Mapping[int, int] | None = None,
    images: str = "images",
    labels: str = "labels",
    label_suffix: str = ".png",
    progress: Callable[[Iterable[Seen], int], Iterable[Seen]] | None = None,
) -> Report:
    """Read every file of a folder once and say what a training on it would stumble over.

    Args:
        root: folder that holds ``images`` and ``labels``.
        classes: their number or names; None: as many as the labels hold.
        ignore_index, color_table, reduce_zero_label, ids, images, labels, label_suffix: as of
            :class:`~gatezoo.data.datasets.folder.FolderDataset`.
        progress: ``progress(what is read, number) -> the same``, to draw a bar.

    Raises:
        ValueError: there are no such folders, or no pictures in them.
    """
    root = Path(root)
    if not ((root / images).is_dir() and (root / labels).is_dir()):
        below = [path for path in sorted(root.iterdir()) if (path / images).is_dir()] if root.is_dir() else []
        hint = f": check {' and '.join(map(str, below))}, one by one" if below else ""
        raise ValueError(f"a data folder must hold the folders {images} and {labels}; {root} does not{hint}")
    pictures = visible(root / images, PICTURE_SUFFIXES)
    if not pictures:
        raise ValueError(f"a data folder must hold pictures; there is none in {root / images}")
    pairs, problems = _pair(pictures, visible(root / labels, PICTURE_SUFFIXES), label_suffix)
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        read: Iterable[Seen] = pool.map(lambda pair: see(*pair), pairs)
        found = list(progress(read, len(pairs)) if progress else read)
    judge = Judge(found, classes, ignore_index, color_table, reduce_zero_label, ids)
    report = judge.report(root)
    problems += [problem for seen in found for problem in judge.problems_of(seen)]
    report.problems = problems + judge.problems_of_all(root / labels, report)
    return report


def _pair(pictures: list[Path], masks: list[Path], suffix: str) -> tuple[list[tuple[Path, Path | None]], list[Problem]]:
    """Pictures with their labels by name, and what is left over on either side."""
    by_name = {mask.name: mask for mask in masks}
    by_stem = {mask.stem: mask for mask in masks}
    pairs, problems, used, stems = [], [], set(), Counter(picture.stem for picture in pictures)
    for picture in pictures:
        mask = by_name.get(f"{picture.stem}{suffix}") or by_stem.get(picture.stem)
        pairs.append((picture, mask))
        used.add(mask)
        if stems[picture.stem] > 1:
            problems.append(
                Problem("stem", picture, "another picture has the same name but for the suffix: rename one")
            )
        if mask is None:
            near = sorted(name for name in by_name if name.startswith(picture.stem))
            hint = f" (there is {near[0]}: label_suffix {near[0][len(picture.stem) :]!r}?)" if near else ""
            problems.append(Problem("unlabelled", picture, f"has no labels {picture.stem}{suffix}{hint}"))
        elif mask.name not in (f"{picture.stem}{suffix}", f"{picture.stem}.jpg", f"{picture.stem}.jpeg"):
            problems.append(Problem("suffix", mask, f"should be called {picture.stem}{suffix}: or say --label-suffix"))
    problems += [Problem("left over", mask, "is the labels of no picture", False) for mask in masks if mask not in used]
    return pairs, problems
