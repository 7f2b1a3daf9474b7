"""Check of a folder of images and labels before training."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from ...utils.images import IMAGE_SUFFIXES
from ...utils.parallel import parallel_map
from ..files.labels import Color
from ..files.layout import list_files, list_folder_images
from ..label_format import LabelFormat
from .inspect import FilePair, inspect_pair
from .report import Issue, Report
from .rules import FolderValidator

__all__ = ["Issue", "Report", "check_folder"]


def check_folder(
    root: str | os.PathLike,
    classes: int | Sequence[str] | None = None,
    ignore_index: int = 255,
    *,
    color_table: Sequence[Color] | Mapping[Color, int] | None = None,
    reduce_zero_label: bool = False,
    ids: Mapping[int, int] | None = None,
    image_dir: str = "images",
    label_dir: str = "labels",
    label_suffix: str = ".png",
    progress: Callable[[Iterable[FilePair], int], Iterable[FilePair]] | None = None,
) -> Report:
    """Read every file of a folder once and report all that training on it would fail on.

    Args:
        root: folder that holds ``images`` and ``labels``.
        classes: number or names of the classes; None: as many as the labels hold.
        ignore_index, color_table, reduce_zero_label, ids, image_dir, label_dir, label_suffix: see
            :class:`~gatezoo.data.datasets.folder.FolderDataset`.
        progress: ``progress(pairs, number of pairs) -> the same pairs``, to draw a progress bar.

    Raises:
        ValueError: no such folders, no images in them, or contradicting options.
    """
    root, label_format = Path(root), LabelFormat(color_table, reduce_zero_label, ids, label_suffix)
    images = list_folder_images(root, image_dir, label_dir)
    paths, issues = _match(images, list_files(root / label_dir, IMAGE_SUFFIXES), label_suffix)
    read: Iterable[FilePair] = parallel_map(lambda pair: inspect_pair(*pair), paths)
    pairs = list(progress(read, len(paths)) if progress else read)
    validator = FolderValidator(pairs, classes, ignore_index, label_format)
    report = validator.report(root)
    issues += [issue for pair in pairs for issue in validator.check_pair(pair)]
    report.issues = issues + validator.check_totals(root / label_dir, report)
    return report


def _match(
    images: Sequence[Path], masks: Sequence[Path], suffix: str
) -> tuple[list[tuple[Path, Path | None]], list[Issue]]:
    """Match images and labels by name; return the pairs, and an issue for each file that has no partner."""
    by_name = {mask.name: mask for mask in masks}
    by_stem = {mask.stem: mask for mask in masks}
    pairs, issues, used = [], [], set()
    stems = Counter(image.stem for image in images)
    for image in images:
        mask = by_name.get(f"{image.stem}{suffix}") or by_stem.get(image.stem)
        pairs.append((image, mask))
        used.add(mask)
        if stems[image.stem] > 1:
            issues.append(Issue("stem", image, "another image has the same name but for the suffix: rename one"))
        if mask is None:
            similar = sorted(name for name in by_name if name.startswith(image.stem))
            hint = f" (there is {similar[0]}: label_suffix {similar[0][len(image.stem) :]!r}?)" if similar else ""
            issues.append(Issue("unlabeled", image, f"has no labels {image.stem}{suffix}{hint}"))
        elif mask.name not in (f"{image.stem}{suffix}", f"{image.stem}.jpg", f"{image.stem}.jpeg"):
            issues.append(
                Issue("suffix", mask, f"must be called {image.stem}{suffix}: rename it or pass --label-suffix")
            )
    issues += [Issue("unpaired", mask, "has no image", False) for mask in masks if mask not in used]
    return pairs, issues
