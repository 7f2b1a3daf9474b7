"""Reader of image columns of Hugging Face ``datasets``: ``hf:org/name`` on the Hub, parquet files, ``save_to_disk``.

Rows have an image and its label map, columns of the type ``Image``. Nothing is decoded before an item is read, and by
this project's own readers, which keep 16 bits. Row k of a split is named ``ROOT/SPLIT/rowK``, its label map
``ROOT/SPLIT/rowK/label``. To train, ``datasets`` writes the rows once as Arrow files into its cache
(``HF_DATASETS_CACHE``) and maps them into memory: a training reads rows in any order, and again after it was resumed.
What reads all rows once, in order, streams them and writes no such copy.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ...hub import check_repo
from ...utils.image_bytes import ImageBytes, ImageFile
from ...utils.text import first_line
from ..base import SegmentationDataset
from ..files.issue import Issue
from ..files.labels import Decoder, RasterDecoder
from ..instances import InstanceMaskDataset
from .hf_columns import class_list, find_columns, require_datasets
from .source import Entry, ReadOptions, Source, split_name

PREFIX = "hf:"
# Rows of a stream that are in memory at once.
BATCH_ROWS = 16

_LABEL, _ROW = "label", "row"
_SAVED_FILES = ("dataset_dict.json", "state.json")
_HUB_NAME = re.compile(r"hf:(?P<repo>[^:@]*)(:(?P<config>[^@]+))?(@(?P<revision>.+))?")

# The columns of a split: a Dataset, or of a stream some of its rows.
Rows = Mapping[str, Sequence[Mapping[str, Any] | None]]


def is_hub(root: Path) -> bool:
    """Return whether a path names a data set of the Hub: ``hf:org/name``, ``hf:org/name:config@revision``."""
    return str(root).startswith(PREFIX)


def find(root: Path) -> str | None:
    """Return what shows that a path is a data set of the Hub, or a folder of one; None if nothing does."""
    if is_hub(root):
        return "a data set of the Hub"
    if _is_saved(root):
        return "Arrow files"
    count = sum(1 for pattern in ("*.parquet", "*/*.parquet") for _ in root.glob(pattern))
    return f"{count} parquet files" if count else None


def open_source(root: Path) -> HfSource:
    """Open a data set, in any order of its rows; one of the Hub is downloaded first."""
    builder = None if _is_saved(root) else _builder(root)
    with _one_line(root):
        if builder is None:
            saved = require_datasets().load_from_disk(str(root))
            found = saved if isinstance(saved, dict) else {str(saved.split or "train"): saved}
        else:
            builder.download_and_prepare()
            counts = {name: info.num_examples for name, info in builder.info.splits.items()}
            found = {name: builder.as_dataset(name) if count else () for name, count in counts.items()}
        rows = {name: _undecoded(data) for name, data in found.items() if len(data)}
    splits = tuple(name for name in found if name in rows or split_name(name) == "train")
    source = HfSource(root, next((data.features for data in rows.values()), {}), rows, splits)
    source.issues = [_empty_split(root, name) for name in found.keys() - rows.keys()]
    source.annotation_files = tuple(Path(file["filename"]) for data in rows.values() for file in data.cache_files)
    return source


def open_stream(root: Path) -> Source:
    """Open a data set whose rows are read once, in order, without a copy of them on disk."""
    if _is_saved(root):
        return open_source(root)
    builder = _builder(root)
    with _one_line(root):
        streams = {name: _undecoded(stream) for name, stream in builder.as_streaming_dataset().items()}
    return HfStream(root, streams, sum(info.num_examples or 0 for info in (builder.info.splits or {}).values()))


@dataclass(frozen=True)
class RowFiles:
    """Function from the path of a row's image, or of its label map, to the content.

    Args:
        rows: of each split.
        columns: of images and of label maps.
        first: number of the first row.
    """

    rows: Mapping[str, Rows]
    columns: tuple[str, str]
    first: int = 0

    def __call__(self, path: Path) -> ImageFile:
        is_label = path.name == _LABEL
        row = path.parent if is_label else path
        column = self.columns[is_label]
        cell = self.rows[row.parent.name][column][int(row.name.removeprefix(_ROW)) - self.first]
        # A path in a table of somebody else could be that of any file here.
        if not cell or cell["bytes"] is None:
            raise ValueError(f"rows must hold the content of image and label map; {path} has none in {column!r}")
        return ImageBytes(path, cell["bytes"])


class HfSource(Source):
    """Rows of images with label maps.

    Args:
        root: folder, or name on the Hub.
        features: types of the columns.
        rows: of each split that has some.
        splits: names of all splits.
        first: number of the first row.
    """

    name = "hf"
    has_instances = False

    def __init__(
        self, root: Path, features: Mapping[str, Any], rows: Mapping[str, Rows], splits: tuple[str, ...], first: int = 0
    ):
        self.features, self.rows, self.first = features, rows, first
        self._splits = tuple(dict.fromkeys(map(split_name, splits)))
        entries = []
        for split, data in rows.items():
            count = len(next(iter(data.values()))) if isinstance(data, dict) else len(data)
            for number in range(first, first + count):
                row = root / split / f"{_ROW}{number:06}"
                entries.append(Entry(row, row / _LABEL, split_name(split)))
        names, colors = class_list(root, features)
        super().__init__(root, names, entries, (), colors)

    @property
    def splits(self) -> tuple[str, ...]:
        """Names of the splits, in order; () for a data set without a part to train on."""
        return self._splits if "train" in self._splits else ()

    def class_names(self, options: ReadOptions) -> tuple[str, ...]:
        """Return the names of the classes."""
        if not (options.classes or self.labels):
            raise ValueError(
                f"the classes of label maps must be known; {self.root} names none: pass --classes NAME,NAME,... or "
                "--classes FILE"
            )
        return tuple(options.classes or self.labels)

    def finder(self, options: ReadOptions) -> Callable[[Path], ImageFile]:
        """Return the function from the path of a row's image or label map to the content."""
        return RowFiles(self.rows, find_columns(self.root, self.features, options.columns), self.first)

    def decoder(self, options: ReadOptions) -> Decoder:
        """Return the function that reads a label map as ids."""
        return partial(_read_labels, read=options.label_format.decoder(), find_file=self.finder(options))

    def semantic(self, split: str | None, options: ReadOptions) -> SegmentationDataset:
        """Open the classes of a split, encoded as the options say."""
        data = super().semantic(split, options)
        data.label_format = options.label_format
        if colors := options.label_format.palette:
            data.palette = tuple(colors)
        return data

    def instances(self, split: str | None, options: ReadOptions) -> InstanceMaskDataset:
        """Refuse: label maps have no instances."""
        raise ValueError(f"instances must be separate in the annotations; {self.root} (hf) has label maps")


class HfStream(HfSource):
    """Rows that are read once, in order.

    Args:
        root: folder, or name on the Hub.
        streams: of each split.
        count: number of all rows; 0 if it is not known.
    """

    def __init__(self, root: Path, streams: Mapping[str, Any], count: int):
        features: Mapping[str, Any] = next((stream.features for stream in streams.values() if stream.features), {})
        super().__init__(root, features, {}, tuple(streams))
        self._streams, self._count = streams, count

    @property
    def count(self) -> int:
        """Number of images; 0 if it is not known."""
        return self._count

    def parts(self) -> Iterator[Source]:
        """Yield the rows of all splits, some at a time."""
        for split, stream in self._streams.items():
            first = 0
            with _one_line(self.root):
                batches = iter(stream.iter(BATCH_ROWS))
            while True:
                with _one_line(self.root):
                    batch = next(batches, None)
                if batch is None:
                    break
                part = HfSource(self.root, self.features, {split: batch}, tuple(self._streams), first)
                yield part
                first += len(part.entries)
            if not first:
                self.issues.append(_empty_split(self.root, split))


def _empty_split(root: Path, split: str) -> Issue:
    return Issue("empty", root / split, "has no rows", fatal=split_name(split) == "train")


def _is_saved(root: Path) -> bool:
    """Return whether ``save_to_disk`` wrote a folder."""
    return any(os.path.isfile(root / name) for name in _SAVED_FILES)


def _builder(root: Path) -> Any:
    """Return the builder of a data set, which has read nothing but descriptions.

    Raises:
        ValueError: neither a folder, which would be looked up on the Hub, nor ``hf:org/name``; the Hub does not answer
            and the cache holds none, or another revision.
    """
    datasets = require_datasets()
    if not is_hub(root):
        if not os.path.isdir(root):
            raise ValueError(f"a data set must be a folder or hf:org/name; there is no folder {root}: fix the name")
        with _one_line(root):
            return datasets.load_dataset_builder(str(root.resolve()))
    match = _HUB_NAME.fullmatch(root.as_posix())
    check_repo(match["repo"] if match else root.as_posix())
    assert match
    revision = match["revision"]
    with _one_line(root):
        builder = datasets.load_dataset_builder(match["repo"], match["config"], revision=revision)
    # Without the Hub, datasets takes the newest revision in its cache.
    if re.fullmatch("[0-9a-f]{40}", revision or "") and builder.hash != revision:
        raise ValueError(f"the revision must be in the cache or the hub reachable; {root} is there as {builder.hash}")
    return builder


@contextmanager
def _one_line(what: Path) -> Iterator[None]:
    """Translate the errors of datasets, pyarrow, fsspec and the Hub's client, which have no class in common."""
    try:
        yield
    except Exception as error:
        fix = "check its name, the network, HF_TOKEN and HF_HUB_OFFLINE" if is_hub(what) else "write its files again"
        reason = first_line(error.__cause__ or error)
        raise ValueError(f"a data set must be readable by datasets; {what} is not: {reason}: {fix}") from None


def _undecoded(data: Any) -> Any:
    """Return rows, or a stream of them, whose images are bytes and paths."""
    image = require_datasets().Image
    for name, feature in (data.features or {}).items():
        if isinstance(feature, image):
            data = data.cast_column(name, image(decode=False))
    return data


def _read_labels(path: Path, read: RasterDecoder, find_file: Callable[[Path], ImageFile]) -> np.ndarray:
    return read(find_file(path))
