"""Check of a folder of images and labels before training."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from ...utils.image_bytes import ImageFile
from ...utils.images import MIN_SIZE, check_image_max
from ...utils.parallel import parallel_map
from ...utils.progress import Progress
from ..annotations.formats import LABEL_MAPS
from ..annotations.source import Entry, ReadOptions, Source
from ..classes import check_class_list
from ..files.labels import Color, Decoder
from ..files.pairs import FolderLayout, find_folder_files
from ..label_format import LabelFormat
from .consistency import check_images, check_palettes
from .inspect import FilePair, inspect_entry, inspect_pair
from .report import Issue, Report
from .rules import FolderValidator

__all__ = ["Issue", "Report", "check_folder", "check_source", "require_valid", "require_valid_folder"]

_log = logging.getLogger("gatezoo")


def check_folder(  # noqa: PLR0913
    root: str | os.PathLike,
    classes: int | Sequence[str] | None = None,
    ignore_index: int = 255,
    *,
    color_table: Sequence[Color] | Mapping[Color, int] | None = None,
    reduce_zero_label: bool = False,
    ids: Mapping[int, int] | None = None,
    layout: FolderLayout | None = None,
    in_chans: int | None = None,
    image_max: float | None = None,
    min_size: int = MIN_SIZE,
    progress: Progress | None = None,
) -> Report:
    """Read every file of a folder once and report all that training on it would fail on.

    Args:
        root: folder that holds the files.
        classes: number or names of the classes; None: as many as the labels hold.
        ignore_index, color_table, reduce_zero_label, ids, layout: see
            :class:`~gatezoo.data.datasets.folder.FolderDataset`.
        in_chans: channels of the network's images; None: any number, the same in all files.
        image_max: value of full brightness, see :func:`~gatezoo.utils.images.load_image`.
        min_size: least height and width of an image for the network.
        progress: ``progress(pairs, number of pairs) -> the same pairs``, to draw a progress bar.

    Raises:
        ValueError: no such folders, no images in them, or contradicting options.
    """
    root, layout = Path(root), layout or FolderLayout()
    label_format = LabelFormat(color_table, reduce_zero_label, ids, layout.label_suffix)
    check_image_max(image_max)
    if classes is not None and not isinstance(classes, int):
        check_class_list(classes)
    images, labels, issues, (image_dir, label_dir) = find_folder_files(root, layout)
    read: Iterable[FilePair] = parallel_map(
        lambda pair: inspect_pair(*pair, in_chans, image_max), list(zip(images, labels))
    )
    pairs = list(progress(read, len(images)) if progress else read)
    validator = FolderValidator(pairs, classes, ignore_index, label_format, min_size)
    if color_table is None:
        issues += check_palettes(pairs, label_dir)
    return _report(root, validator, issues + check_images(pairs, image_dir, image_max), label_dir)


def check_source(
    source: Source, options: ReadOptions, min_size: int = MIN_SIZE, progress: Progress | None = None
) -> Report:
    """Read every image and every annotation of a source once and report all that training on them would fail on.

    Args:
        source: the annotations.
        options: how they become classes; ``in_chans`` None: any number, the same in all files.
        min_size, progress: see :func:`check_folder`.

    Raises:
        ValueError: annotations without labels.
    """
    label_format, names = options.label_format, options.classes or source.labels or None
    if source.name not in LABEL_MAPS:
        names = source.class_names(options)
        # A mapping of ids, so that no rule takes the numbers for those of a file.
        label_format = LabelFormat(ids={k: k for k in (*range(len(names)), options.ignore_index)})
    read: Iterable[FilePair] = _inspect_source(source, options)
    pairs = list(progress(read, source.count) if progress and source.count else read)
    validator = FolderValidator(pairs, names, options.ignore_index, label_format, min_size)
    issues = source.issues + check_images(pairs, source.root, options.image_max)
    if source.name in LABEL_MAPS and label_format.color_table is None:
        issues += check_palettes(pairs, source.root)
    return _report(source.root, validator, issues, source.root)


def _inspect_source(source: Source, options: ReadOptions) -> Iterator[FilePair]:
    for part in source.parts():
        decode = None if source.name in LABEL_MAPS else part.decoder(options)
        yield from parallel_map(
            partial(_inspect, find=part.finder(options), decode=decode, options=options), part.entries
        )


def _inspect(entry: Entry, find: Callable[[Path], ImageFile], decode: Decoder | None, options: ReadOptions) -> FilePair:
    """Return the facts about an image and its label map or, with a decoder, its annotations."""
    limits = options.in_chans, options.image_max
    if decode is None:
        return inspect_pair(entry.image, entry.key, *limits, find)
    return inspect_entry(entry.image, entry.key, decode, *limits)


def _report(root: Path, validator: FolderValidator, issues: list[Issue], label_dir: Path) -> Report:
    """Return the report of a validator's files with their issues after the given ones."""
    report = validator.report(root)
    issues = issues + [issue for pair in validator.pairs for issue in validator.check_pair(pair)]
    report.issues = issues + validator.check_totals(label_dir, report)
    return report


def require_valid_folder(root: str | os.PathLike, classes: int | Sequence[str], **options: Any) -> None:
    """Check a folder before it is used, and log the first warning of each kind.

    Args:
        root, classes, options: of :func:`check_folder`.

    Raises:
        ValueError: the first error of the files, or as :func:`check_folder`.
    """
    require_valid(check_folder(root, classes, **options))


def require_valid(report: Report) -> None:
    """Raise ValueError with the first error of a report; without errors, log the first warning of each kind."""
    report.raise_errors()
    first: dict[str, Issue] = {}
    for issue in report.warnings:
        first.setdefault(issue.kind, issue)
    for issue in first.values():
        _log.warning("%s: %s", issue.file, issue.message)
