"""Image files of a folder, and errors about them."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..utils.images import IMAGE_SUFFIXES


def list_images(folder: str | os.PathLike) -> list[Path]:
    """Return the images of a folder in order of name.

    Raises:
        ValueError: the folder cannot be read or contains no image.
    """
    try:
        content = sorted(Path(folder).iterdir())
    except OSError as error:
        raise ValueError(f"a folder of images must be readable; {folder} is not: {error.strerror}") from None
    paths = [path for path in content if path.suffix.lower() in IMAGE_SUFFIXES and path.name[0] != "."]
    if not paths:
        raise ValueError(f"a folder must hold images ({' '.join(IMAGE_SUFFIXES)}); {folder} has none")
    return paths


@contextlib.contextmanager
def error_context(source: Any) -> Iterator[None]:
    """Put the path of a file in front of the message of an error about it; other sources have no name."""
    try:
        yield
    except ValueError as error:
        if not isinstance(source, (str, os.PathLike)) or str(source) in str(error):
            raise
        raise ValueError(f"{source}: {error}") from None
