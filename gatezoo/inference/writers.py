"""Write predictions to files: the loop over images, which protects files that exist and goes on after broken images."""

from __future__ import annotations

import json
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np

from ..utils.allocator import explain_out_of_memory
from ..utils.files import atomic_write, check_outputs, ensure_dir, write_json
from ..utils.parallel import read_ahead
from ..utils.progress import Progress

P = TypeVar("P")

# Ends the name of each image's record, the first of its files that is written.
RECORD = ".json"
_RECORD_KEYS = ("shares", "counts")
# The first entry of the file of all images, by which it is known as an earlier result; COCO's format has its place.
_INFO = {"info": {"description": "predicted by gatezoo"}}


@dataclass(frozen=True)
class Results:
    """What a writer found in an image, ready to be written.

    Attributes:
        summary: the most frequent classes or instances, for a line of text.
        record: content of ``STEM.json``: "shares" of the classes or "counts" of the instances, and more.
        files: ending of a file's name, after the stem of its image -> function that writes the file.
    """

    summary: str
    record: Mapping[str, Any]
    files: Mapping[str, Callable[[Path], object]]


@dataclass(frozen=True)
class PredictionFiles:
    """The files that were written for one image.

    Attributes:
        image: that was predicted.
        files: that were written for it, the record last.
        summary, record: see :class:`Results`; the record has the path of the image, too, as "image".
    """

    image: Path
    files: list[Path]
    summary: str
    record: dict[str, Any]


class PredictionWriter(ABC, Generic[P]):
    """Base class of what predicts an image file and says what is to be written."""

    @property
    @abstractmethod
    def endings(self) -> list[str]:
        """Endings of the names of the files that may be written for an image, besides its record."""

    @property
    def shared_file(self) -> str:
        """Name of the one file for all images; "" for none."""
        return ""

    def prepare(self, images: Sequence[Path]) -> list[Path]:
        """Find the files that are read besides the images, and return them.

        Raises:
            ValueError: one is missing.
        """
        return []

    # The three steps of an image. Those of successive images overlap: while one is predicted, a thread reads the next
    # one, and another thread draws and writes the one before. Each step takes the images in order.

    @abstractmethod
    def read(self, image: Path) -> Any:
        """Read an image file: its pixels, as :meth:`predict` takes them.

        Raises:
            ValueError: it is no image that the network takes; the message contains its path.
        """

    @abstractmethod
    def predict(self, number: int, image: Path, pixels: Any) -> P:
        """Predict an image.

        Args:
            number: position of the image among those that were prepared, from 0.
            image: its file.
            pixels: what :meth:`read` returned for it.

        Raises:
            ValueError: it cannot be predicted; the message contains its path.
        """

    @abstractmethod
    def results(self, number: int, image: Path, prediction: P) -> Results:
        """Return what is to be written for an image; arguments and errors as of :meth:`predict`.

        Args:
            number, image: as of :meth:`predict`.
            prediction: what it returned.
        """

    def shared_content(self) -> dict[str, Any]:
        """Return the content of the one file for all images, a dict of JSON, after the last of them."""
        return {}


def write_predictions(
    writer: PredictionWriter,
    images: Sequence[str | os.PathLike],
    out: str | os.PathLike,
    *,
    on_error: Callable[[ValueError], None] | None = None,
    progress: Progress | None = None,
) -> Iterator[PredictionFiles]:
    """Predict image files into a folder: for each STEM a record ``STEM.json`` and the files of the writer.

    All paths are checked before the first image is read: results of an earlier run are replaced, other files never.
    Each file is written atomically.

    Args:
        writer: a :class:`~gatezoo.inference.SemanticWriter` or :class:`~gatezoo.inference.InstanceWriter`.
        images: files.
        out: folder; made if it does not exist.
        on_error: called with the error of an image that cannot be predicted, after which the next image follows;
            default: the error is raised.
        progress: reports progress.

    Yields:
        The files of each image, as soon as they are written.

    Raises:
        ValueError: an output would replace an input, another output or a file that is no earlier result; the folder
            cannot be written; an image cannot be predicted.
    """
    paths, out = [Path(path) for path in images], Path(out)
    inputs = [*paths, *writer.prepare(paths)]
    shared = out / writer.shared_file if writer.shared_file else None
    planned = [(out / f"{path.stem}{ending}", path) for path in paths for ending in (RECORD, *writer.endings)]
    check_outputs([*planned, (shared, out)] if shared else planned, inputs)
    _check_earlier_results(planned, out)
    if shared and os.path.lexists(shared) and not _is_shared(shared):
        raise _not_ours(shared)
    ensure_dir(out)
    written = 0
    for item in _overlapping(writer, paths, out, progress):
        if isinstance(item, PredictionFiles):
            written += 1
            yield item
        elif on_error is None:
            raise item
        else:
            on_error(item)
    if shared and written:
        write_json(shared, {**_INFO, **writer.shared_content()}, indent=None)


def _overlapping(
    writer: PredictionWriter[P], paths: Sequence[Path], out: Path, progress: Progress | None
) -> Iterator[PredictionFiles | ValueError]:
    """Yield what was written for each image, in order, or the error by which it cannot be predicted."""
    images = enumerate(read_ahead(paths, writer.read))
    with ThreadPoolExecutor(1) as pool:
        before: Future[PredictionFiles | ValueError] | None = None
        for number, (path, pixels) in progress(images, len(paths)) if progress else images:
            refused: ValueError | None = None
            try:
                with _memory_of(path):
                    prediction = writer.predict(number, path, pixels())
            except ValueError as error:
                refused = error
            # Before the next one is handed over: maps of two images at most are in memory.
            if before is not None:
                yield before.result()
            before = None if refused else pool.submit(_write, writer, out, number, path, prediction)
            if refused:
                yield refused
        if before is not None:
            yield before.result()


def _write(
    writer: PredictionWriter[P], out: Path, number: int, path: Path, prediction: P
) -> PredictionFiles | ValueError:
    """Write the files of an image; return the error by which there is nothing to write, and raise those of writing."""
    try:
        with _memory_of(path):
            results = writer.results(number, path, prediction)
    except ValueError as error:
        return error
    record_file, record = out / f"{path.stem}{RECORD}", {"image": str(path), **results.record}
    write_json(record_file, record)
    files = []
    for ending, write in results.files.items():
        files.append(out / f"{path.stem}{ending}")
        atomic_write(files[-1], write)
    return PredictionFiles(path, [*files, record_file], results.summary, record)


def _memory_of(path: Path) -> AbstractContextManager[None]:
    return explain_out_of_memory(f"predict a smaller image than {path}, or windows of it (--window-size 512)")


def class_shares(classes: np.ndarray, names: list[str]) -> dict[str, float]:
    """Return the share of each class that occurs in a label map, largest first."""
    shares = np.bincount(classes.ravel(), minlength=len(names)) / classes.size
    return {names[k]: round(float(shares[k]), 6) for k in np.argsort(-shares) if shares[k]}


def shares_summary(shares: Mapping[str, float]) -> str:
    """Return the four largest shares as a line of text."""
    return ", ".join(f"{name} {share:.1%}" for name, share in list(shares.items())[:4])


def _check_earlier_results(planned: Sequence[tuple[Path, Path]], out: Path) -> None:
    """Raise ValueError if a file that would be written exists and does not belong to the record of an earlier run."""
    checked: dict[Path, bool] = {}
    for path, image in planned:
        if os.path.lexists(path):
            record = out / f"{image.stem}{RECORD}"
            if record not in checked:
                checked[record] = _is_record(record)
            if not checked[record]:
                raise _not_ours(path)


def _is_record(path: Path) -> bool:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(content, dict) and "image" in content and any(key in content for key in _RECORD_KEYS)


def _is_shared(path: Path) -> bool:
    start = json.dumps(_INFO)[:-1].encode()
    try:
        with path.open("rb") as file:
            return file.read(len(start)) == start
    except OSError:
        return False


def _not_ours(path: Path) -> ValueError:
    return ValueError(
        f"an output must not replace a file that is no earlier result; {path} exists: choose another folder"
    )
