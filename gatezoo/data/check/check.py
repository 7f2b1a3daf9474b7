"""The check of a folder of images and labels before training: what is wrong, and what is in it."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from ...utils.images import IMAGE_SUFFIXES
from ..files.labels import Colour
from ..files.layout import list_files
from .inspect import FilePair, inspect_pair
from .report import Issue, Report
from .rules import FolderValidator

__all__ = ["Issue", "Report", "check_folder"]


def check_folder(
    root: str | os.PathLike,
    classes: int | Sequence[str] | None = None,
    ignore_index: int = 255,
    *,
    color_table: Sequence[Colour] | Mapping[Colour, int] | None = None,
    reduce_zero_label: bool = False,
    ids: Mapping[int, int] | None = None,
    image_dir: str = "images",
    label_dir: str = "labels",
    label_suffix: str = ".png",
    progress: Callable[[Iterable[FilePair], int], Iterable[FilePair]] | None = None,
) -> Report:
    """Read every file of a folder once and say what a training on it would stumble over.

    Args:
        root: folder that holds ``images`` and ``labels``.
        classes: their number or names; None: as many as the labels hold.
        ignore_index, color_table, reduce_zero_label, ids, image_dir, label_dir, label_suffix: as of
            :class:`~gatezoo.data.datasets.folder.FolderDataset`.
        progress: ``progress(what is read, number) -> the same``, to draw a bar.

    Raises:
        ValueError: there are no such folders, or no images in them.
    """
    root = Path(root)
    if not ((root / image_dir).is_dir() and (root / label_dir).is_dir()):
        below = [path for path in sorted(root.iterdir()) if (path / image_dir).is_dir()] if root.is_dir() else []
        hint = f": check {' and '.join(map(str, below))}, one by one" if below else ""
        raise ValueError(f"a data folder must hold the folders {image_dir} and {label_dir}; {root} does not{hint}")
    images = list_files(root / image_dir, IMAGE_SUFFIXES)
    if not images:
        raise ValueError(f"a data folder must hold images; there is none in {root / image_dir}")
    pairs, problems = _pair(images, list_files(root / label_dir, IMAGE_SUFFIXES), label_suffix)
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        read: Iterable[FilePair] = pool.map(lambda pair: inspect_pair(*pair), pairs)
        found = list(progress(read, len(pairs)) if progress else read)
    judge = FolderValidator(found, classes, ignore_index, color_table, reduce_zero_label, ids)
    report = judge.report(root)
    problems += [problem for seen in found for problem in judge.problems_of(seen)]
    report.problems = problems + judge.problems_of_all(root / label_dir, report)
    return report


def _pair(images: list[Path], masks: list[Path], suffix: str) -> tuple[list[tuple[Path, Path | None]], list[Issue]]:
    """Images with their labels by name, and what is left over on either side."""
    by_name = {mask.name: mask for mask in masks}
    by_stem = {mask.stem: mask for mask in masks}
    pairs, problems, used, stems = [], [], set(), Counter(image.stem for image in images)
    for image in images:
        mask = by_name.get(f"{image.stem}{suffix}") or by_stem.get(image.stem)
        pairs.append((image, mask))
        used.add(mask)
        if stems[image.stem] > 1:
            problems.append(Issue("stem", image, "another image has the same name but for the suffix: rename one"))
        if mask is None:
            near = sorted(name for name in by_name if name.startswith(image.stem))
            hint = f" (there is {near[0]}: label_suffix {near[0][len(image.stem) :]!r}?)" if near else ""
            problems.append(Issue("unlabelled", image, f"has no labels {image.stem}{suffix}{hint}"))
        elif mask.name not in (f"{image.stem}{suffix}", f"{image.stem}.jpg", f"{image.stem}.jpeg"):
            problems.append(Issue("suffix", mask, f"should be called {image.stem}{suffix}: or say --label-suffix"))
    problems += [Issue("left over", mask, "is the labels of no image", False) for mask in masks if mask not in used]
    return pairs, problems
