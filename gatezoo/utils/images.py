"""Reading images as cameras and editors write them."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError

IMAGE_SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")


def to_rgb(image: Image.Image) -> torch.Tensor:
    """A PIL image of any mode, EXIF rotation applied, transparency on white -> uint8 (3, H, W)."""
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I") or image.mode == "F":  # 16 and 32 bit grey: PIL would clip, not scale
        values = np.asarray(image, dtype=np.float64)
        image = Image.fromarray((values * (255 / max(values.max(), 1))).astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1)


def load_image(path: str | os.PathLike) -> torch.Tensor:
    """A image file -> uint8 (3, H, W).

    Raises:
        ValueError: there is no such file, it is no image, or it is cut short.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"a image must be a file; there is none at {path}")
    try:
        with Image.open(path) as image:
            image.load()
            return to_rgb(image)
    except UnidentifiedImageError:
        raise ValueError(f"a image must be in a format that Pillow reads; {path} is not") from None
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"the image {path} cannot be read: {error}") from None
