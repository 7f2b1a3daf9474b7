"""Read image files as cameras and editors write them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError

IMAGE_SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")


def to_rgb(image: Image.Image) -> torch.Tensor:
    """Convert a PIL image of any mode to uint8 (3, H, W): EXIF rotation is applied, transparency is laid on white."""
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I") or image.mode == "F":  # 16 and 32 bit gray: PIL would clip, not scale
        values = np.asarray(image, dtype=np.float64)
        image = Image.fromarray((values * (255 / max(values.max(), 1))).astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1)


@contextmanager
def open_pil(path: str | os.PathLike, what: str) -> Iterator[Image.Image]:
    """Open an image file with Pillow, decode it, and close it at the end of the ``with`` block.

    Errors of Pillow inside the block, such as those of EXIF data, are treated as errors of the file.

    Args:
        path: the file.
        what: name of its content in messages, such as "an image" or "labels".

    Raises:
        ValueError: no such file, not an image, or truncated.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"{what} must be a file; there is none at {path}")
    try:
        with Image.open(path) as image:
            image.load()
            yield image
    except UnidentifiedImageError:
        raise ValueError(f"{what} must be in a format that Pillow reads; {path} is not") from None
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"{what} must be an intact file; {path} cannot be read: {error}") from None


def load_image(path: str | os.PathLike) -> torch.Tensor:
    """Load an image file as uint8 (3, H, W).

    Raises:
        ValueError: no such file, not an image, or truncated.
    """
    with open_pil(path, "an image") as image:
        return to_rgb(image)
