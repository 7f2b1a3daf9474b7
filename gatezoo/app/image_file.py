"""Images that a visitor gives: bounded, and kept in the memory of the session alone."""

from __future__ import annotations

import io
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from ..utils.images import FORMATS, read_pixels
from ..visualization.pixels import displayable
from .samples import draw_sample

MAX_BYTES = 20_000_000
MAX_PIXELS = 12_000_000


@dataclass(frozen=True)
class ImageFile:
    """An image file in memory.

    Attributes:
        name: of the file.
        content: its bytes.
    """

    name: str
    content: bytes

    @contextmanager
    def as_file(self) -> Iterator[Path]:
        """Write the image to a file that is gone at the end of the ``with`` block; errors name the image alone."""
        with tempfile.TemporaryDirectory(prefix="gatezoo-") as folder:
            path = Path(folder) / f"image{Path(self.name).suffix[:8]}"
            path.write_bytes(self.content)
            try:
                yield path
            except ValueError as error:
                raise ValueError(str(error).replace(str(path), self.name)) from None

    def shown(self) -> Image.Image:
        """Return the image as RGB, upright.

        Raises:
            ValueError: not a readable image; the message has its name.
        """
        with self.as_file() as path:
            pixels = read_pixels(path)
        values = pixels.values[..., :-1] if pixels.has_alpha else pixels.values
        if values.dtype != "uint8":  # on the scale of its own values, for the eye alone
            low, high = float(values.min()), float(values.max())
            values = (values - low) / (high - low or 1.0) * 255
        return Image.fromarray(displayable(values.transpose(2, 0, 1)))


def sample_file(name: str) -> ImageFile:
    """Return a drawn sample, see :func:`gatezoo.app.samples.draw_sample`, as a PNG."""
    file = io.BytesIO()
    draw_sample(name).save(file, "PNG")
    return ImageFile(f"{name}.png", file.getvalue())


def take_upload(path: str | os.PathLike) -> ImageFile:
    """Read an uploaded file, and delete it whether it can be read or not.

    Raises:
        ValueError: more than ``MAX_BYTES``, more than ``MAX_PIXELS``, or no image in one of the formats that are read.
    """
    path = Path(path)
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise ValueError(
                f"an image must have at most {MAX_BYTES // 10**6} MB; {path.name} has {size / 1e6:.1f}: reduce it, or "
                "use gatezoo predict"
            )
        file = ImageFile(path.name, path.read_bytes())
    finally:
        path.unlink(missing_ok=True)
    try:  # the header alone
        with Image.open(io.BytesIO(file.content), formats=FORMATS) as image:
            width, height = image.size
    except (UnidentifiedImageError, Image.DecompressionBombError, OSError, ValueError, SyntaxError):
        raise ValueError(
            f"an image must be in one of the formats {', '.join(FORMATS)}; {file.name} is not: convert it"
        ) from None
    if width * height > MAX_PIXELS:
        raise ValueError(
            f"an image must have at most {MAX_PIXELS // 10**6} megapixels; {file.name} is {width} x {height}: "
            "reduce it, or use gatezoo predict"
        )
    file.shown()  # an incomplete file is refused now
    return file
