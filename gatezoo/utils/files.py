"""Write files atomically: readers see the old content or the new, never a part."""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any


def ensure_dir(path: Path) -> None:
    """Create an output folder and its parents.

    Raises:
        ValueError: the folder cannot be created.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(
            f"the output folder must be writable; got {path}, {error.strerror or error}: choose another"
        ) from None


def check_new_folder(out: Path, what: str = "the output folder") -> None:
    """Raise ValueError if a folder to write exists and is not empty."""
    if os.path.lexists(out) and not (out.is_dir() and not any(out.iterdir())):
        raise ValueError(f"{what} must be new or empty; {out} is not: choose another")


@contextlib.contextmanager
def new_folder(out: Path) -> Iterator[Path]:
    """Give a temporary folder, and put it in the place of ``out`` at the end if nothing was raised.

    Its parent is a scratch folder, which is removed.
    """
    out = out.resolve()
    ensure_dir(out.parent)
    with tempfile.TemporaryDirectory(prefix=".part", dir=out.parent, ignore_cleanup_errors=True) as temporary:
        # In a folder of its own, whose permissions are those of any new folder.
        folder = Path(temporary) / "new"
        folder.mkdir()
        yield folder
        try:
            if out.is_dir():
                out.rmdir()  # which rename does not replace everywhere
            os.rename(folder, out)
        except OSError as error:
            raise ValueError(f"the folder {out} must be writable; {error.strerror or error}: choose another") from None


def atomic_write(path: Path, write: Callable[[Path], object], previous: Path | None = None) -> None:
    """Call ``write`` with a temporary path beside ``path``, then rename that file to ``path``.

    The temporary file is in a new folder that this user alone can enter, so that nobody can put a link in its place;
    its permissions are those of any new file. It is removed if ``write`` fails. Its content is on the disk before it
    is renamed, so that a loss of power leaves the old file or the new one.

    Args:
        path: the file.
        write: function that writes a file at the path that it is given.
        previous: where the file that is at ``path`` now is moved to; default: it is replaced.

    Raises:
        ValueError: the file cannot be written.
    """
    try:
        with tempfile.TemporaryDirectory(prefix=".part", dir=path.parent, ignore_cleanup_errors=True) as folder:
            tmp_path = Path(folder) / path.name
            write(tmp_path)
            flush_to_disk(tmp_path)
            if previous and path.exists():
                os.replace(path, previous)
            os.replace(tmp_path, path)
        flush_to_disk(path.parent)
    except OSError as error:
        raise ValueError(f"the file {path} must be writable; {error.strerror or error}: choose another") from error


def flush_to_disk(path: Path) -> None:
    """Wait until the content of a file, or the names in a folder, are on the disk.

    Names in a folder are left to the system where it cannot do so (Windows).
    """
    is_dir = path.is_dir()
    try:
        descriptor = os.open(path, os.O_RDONLY if is_dir else os.O_RDWR)
    except PermissionError:  # a folder on Windows; a file that was written without the right to do so again
        return
    try:
        os.fsync(descriptor)
    except OSError:
        if not is_dir:  # some network file systems cannot do it for folders
            raise
    finally:
        os.close(descriptor)


def check_outputs(outputs: Iterable[tuple[Path, Path]], inputs: Iterable[Path]) -> None:
    """Check, before anything is written, that no output is an input, also by another path, or another output.

    Outputs whose paths differ in case alone count as one, which they are on many file systems.

    Args:
        outputs: file that will be written, and the file that it is made from.
        inputs: files that must remain.

    Raises:
        ValueError: one is.
    """
    kept = {identity: path for path in inputs if (identity := _identity(path))}
    sources: dict[str, Path] = {}
    for path, source in outputs:
        if (identity := _identity(path)) in kept:
            raise ValueError(
                f"an output must not replace an input; {path} would replace {kept[identity]}: choose another folder"
            )
        key = str(path).casefold()
        if key in sources:
            raise ValueError(
                f"outputs must not replace one another; {sources[key]} and {source} both give {path}: rename one, or "
                "run them one by one, with different folders"
            )
        sources[key] = source


def _identity(path: Path) -> tuple[int, int] | None:
    """Return what tells an existing file from any other, whatever links lead to it; None if there is none."""
    try:
        status = path.stat()
    except (OSError, ValueError):
        return None
    return status.st_dev, status.st_ino


def write_bytes(path: Path, data: bytes | memoryview) -> None:
    """Write bytes atomically."""
    atomic_write(path, lambda tmp_path: tmp_path.write_bytes(data))


def write_text(path: Path, text: str) -> None:
    """Write text as UTF-8, atomically; line ends stay as they are."""
    # A file name that is no UTF-8 contains surrogates: what replaces them is JSON's way to write them, too.
    write_bytes(path, text.encode("utf-8", "backslashreplace"))


def write_json(path: Path, value: Any, indent: int | None = 1, allow_nan: bool = True) -> None:
    """Write a value as JSON in UTF-8, atomically, with a line end.

    Args:
        path: the file.
        value: anything that :mod:`json` can write.
        indent: spaces per level; None for a single line.
        allow_nan: write NaN and infinity, which strict JSON does not have.

    Raises:
        ValueError: the file cannot be written, or NaN or infinity without ``allow_nan``.
    """
    write_text(path, json.dumps(value, indent=indent, ensure_ascii=False, allow_nan=allow_nan) + "\n")
