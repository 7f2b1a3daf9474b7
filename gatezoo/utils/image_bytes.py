"""Image files that lie in another file, such as a table."""

from __future__ import annotations

from dataclasses import dataclass
from io import BytesIO
from pathlib import Path


@dataclass(frozen=True)
class ImageBytes:
    """Content of an image file that is not a file of its own.

    Attributes:
        path: names it in messages.
        data: the content.
    """

    path: Path
    data: bytes

    def __str__(self) -> str:
        return str(self.path)

    def read_bytes(self) -> bytes:
        """Return the content, as a path does."""
        return self.data


ImageFile = Path | ImageBytes


def on_disk(path: Path) -> ImageFile:
    """Return a path itself, whose file is one of its own."""
    return path


def opened(file: ImageFile) -> Path | BytesIO:
    """Return what a library opens: a path, or the content as a binary file."""
    return BytesIO(file.data) if isinstance(file, ImageBytes) else file
