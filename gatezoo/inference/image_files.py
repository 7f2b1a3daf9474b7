"""Image files of a folder."""

from __future__ import annotations

import os
from pathlib import Path

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
