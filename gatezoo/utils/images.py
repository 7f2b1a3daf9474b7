"""Reading pictures as cameras and editors write them."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError

PICTURE_SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")


def to_rgb(picture: Image.Image) -> torch.Tensor:
    """A PIL picture of any mode, EXIF rotation applied, transparency on white -> uint8 (3, H, W)."""
    picture = ImageOps.exif_transpose(picture)
    if picture.mode.startswith("I") or picture.mode == "F":  # 16 and 32 bit grey: PIL would clip, not scale
        values = np.asarray(picture, dtype=np.float64)
        picture = Image.fromarray((values * (255 / max(values.max(), 1))).astype(np.uint8))
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture)
    return torch.from_numpy(np.array(picture.convert("RGB"))).permute(2, 0, 1)


def open_picture(path: str | os.PathLike) -> torch.Tensor:
    """A picture file -> uint8 (3, H, W).

    Raises:
        ValueError: there is no such file, it is no picture, or it is cut short.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"a picture must be a file; there is none at {path}")
    try:
        with Image.open(path) as picture:
            picture.load()
            return to_rgb(picture)
    except UnidentifiedImageError:
        raise ValueError(f"a picture must be in a format that Pillow reads; {path} is not") from None
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"the picture {path} cannot be read: {error}") from None
