"""The folder of an export, which exists whole or not at all."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from ..utils.files import ensure_dir


@contextlib.contextmanager
def new_folder(out: Path) -> Iterator[Path]:
    """Give a temporary folder, and put it in the place of ``out`` at the end if nothing was raised."""
    ensure_dir(out.parent)
    with tempfile.TemporaryDirectory(prefix=".part", dir=out.parent, ignore_cleanup_errors=True) as temporary:
        # In a folder of its own, whose permissions are those of any new folder.
        folder = Path(temporary) / "exported"
        folder.mkdir()
        yield folder
        try:
            os.rename(folder, out)
        except OSError as error:
            raise ValueError(f"the folder {out} must be writable; {error.strerror or error}: choose another") from None
