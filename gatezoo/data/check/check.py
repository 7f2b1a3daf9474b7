"""Check of a folder of images and labels before training."""

from __future__ import annotations

import os
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from ...utils.images import IMAGE_SUFFIXES, check_image_max
from ...utils.parallel import parallel_map
from ...utils.progress import Progress
from ...utils.text import require_plain_text
from ..files.labels import Color
from ..files.layout import IMAGE_DIR, LABEL_DIR, list_files, list_folder_images
from ..label_format import LabelFormat
from .consistency import check_images, check_palettes
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
    label_suffix: str = ".png",
    in_chans: int | None = None,
    image_max: float | None = None,
    progress: Progress | None = None,
) -> Report:
    """Read every file of a folder once and report all that training on it would fail on.

    Args:
        root: folder that holds ``images`` and ``labels``.
        classes: number or names of the classes; None: as many as the labels hold.
        ignore_index, color_table, reduce_zero_label, ids, label_suffix: see
            :class:`~gatezoo.data.datasets.folder.FolderDataset`.
        in_chans: channels of the network's images; None: any number, the same in all files.
        image_max: value of full brightness, see :func:`~gatezoo.utils.images.load_image`.
        progress: ``progress(pairs, number of pairs) -> the same pairs``, to draw a progress bar.

    Raises:
        ValueError: no such folders, no images in them, or contradicting options.
    """
    root, label_format = Path(root), LabelFormat(color_table, reduce_zero_label, ids, label_suffix)
    check_image_max(image_max)
    if classes is not None and not isinstance(classes, int):
        require_plain_text("class names", classes)
    paths, issues = _match(list_folder_images(root), list_files(root / LABEL_DIR, IMAGE_SUFFIXES), label_suffix)
    read: Iterable[FilePair] = parallel_map(lambda pair: inspect_pair(*pair, in_chans, image_max), paths)
    pairs = list(progress(read, len(paths)) if progress else read)
    validator = FolderValidator(pairs, classes, ignore_index, label_format)
    report = validator.report(root)
    issues += [issue for pair in pairs for issue in validator.check_pair(pair)]
    issues += check_images(pairs, root / IMAGE_DIR, image_max)
    if color_table is None:
        issues += check_palettes(pairs, root / LABEL_DIR)
    report.issues = issues + validator.check_totals(root / LABEL_DIR, report)
    return report


def _match(
    images: Sequence[Path], masks: Sequence[Path], suffix: str
) -> tuple[list[tuple[Path, Path | None]], list[Issue]]:
    """Match images and labels by name; return the pairs, and an issue for each file that has no partner."""
    by_name = {mask.name: mask for mask in masks}
    by_stem = {mask.stem: mask for mask in masks}
    names, stems = sorted(by_name), [image.stem for image in images]
    pairs, issues, used, counts = [], [], set(), Counter(stems)
    for image, stem in zip(images, stems):
        mask = by_name.get(f"{stem}{suffix}") or by_stem.get(stem)
        pairs.append((image, mask))
        if counts[stem] > 1:
            issues.append(Issue("stem", image, "another image has the same name but for the suffix: rename one"))
        if mask is None:
            # The first name that could begin with the stem: looking at all of them takes minutes for many files.
            at = bisect_left(names, stem)
            similar = names[at] if at < len(names) and names[at].startswith(stem) else ""
            hint = f" (there is {similar}: label_suffix {similar[len(stem) :]!r}?)" if similar else ""
            issues.append(Issue("unlabeled", image, f"has no labels {stem}{suffix}{hint}"))
            continue
        used.add(mask.name)
        if mask.name not in (f"{stem}{suffix}", f"{stem}.jpg", f"{stem}.jpeg"):
            issues.append(Issue("suffix", mask, f"must be called {stem}{suffix}: rename it or pass --label-suffix"))
    issues += [Issue("unpaired", mask, "has no image", False) for name, mask in by_name.items() if name not in used]
    return pairs, issues
