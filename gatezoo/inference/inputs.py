"""What users give as images, made into what networks read."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..segmenters.base import SemanticSegmenter
from ..utils.images import IMAGE_SUFFIXES, load_image, to_rgb


def to_batch(model: SemanticSegmenter, image: Tensor, device: str | torch.device | None = None) -> Tensor:
    """Put a network into evaluation mode on a device (default: where it is); a image (C, H, W) in 0 .. 255 -> the
    normalised batch of one that it reads."""
    device = torch.device(device) if device else next(model.parameters()).device
    model.to(device).eval()
    normalize = model.make_normalize().to(device)
    return normalize(image[None].to(device)).contiguous(memory_format=torch.channels_last)


@contextlib.contextmanager
def error_context(source: Any) -> Iterator[None]:
    """Let the message about a file name the file."""
    try:
        yield
    except ValueError as error:
        if not isinstance(source, (str, os.PathLike)) or str(source) in str(error):
            raise
        raise ValueError(f"{source}: {error}") from None


def to_image_tensor(x: Any, in_chans: int = 3) -> Tensor:
    """One image of any kind -> (in_chans, H, W) with values in 0 .. 255.

    Raises:
        ValueError: another type, rank, number of channels, dtype or range, or NaN.
    """
    if isinstance(x, (str, os.PathLike)):
        x = load_image(x)
    elif isinstance(x, Image.Image):
        x = to_rgb(x)
    elif isinstance(x, np.ndarray):
        x = torch.from_numpy(np.ascontiguousarray(x))
        x = x.permute(2, 0, 1) if x.ndim == 3 else x.expand(in_chans, *x.shape)
    elif not isinstance(x, Tensor):
        raise ValueError(f"a image must be a path, a PIL image, an array or a tensor; got {type(x).__name__}")
    if x.ndim != 3 or x.shape[0] != in_chans:
        raise ValueError(
            f"a image must have {in_chans} channels: an array (H, W, {in_chans}) or a tensor ({in_chans}, H, W); "
            f"got {tuple(x.shape)}"
        )
    if x.dtype == torch.uint8:
        return x
    if not x.is_floating_point():
        raise ValueError(f"a image must be uint8 (0 .. 255) or floating point (0 .. 1); got {x.dtype}")
    if not torch.isfinite(x).all():
        raise ValueError("a image must be finite; it holds NaN or infinity")
    low, high = x.min().item(), x.max().item()
    if low < 0 or high > 1:
        raise ValueError(
            f"a floating point image must be in 0 .. 1; got {low:.3g} .. {high:.3g}: "
            "for normalised images call model(images)"
        )
    return x * 255


def list_images(folder: str | os.PathLike) -> list[Path]:
    """The images of a folder in order of name. Raises ValueError if there is none."""
    found = sorted(path for path in Path(folder).iterdir() if path.suffix.lower() in IMAGE_SUFFIXES)
    if not found:
        raise ValueError(f"a folder must hold images ({' '.join(IMAGE_SUFFIXES)}); {folder} has none")
    return found
