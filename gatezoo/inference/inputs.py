"""Convert the images that users pass to the batches that networks take."""

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
    """Put a network into evaluation mode on a device and return the normalized batch (1, C, H, W) of an image.

    Args:
        model: a semantic segmentation network.
        image: (C, H, W), values in 0 .. 255.
        device: default: where the network is.
    """
    device = torch.device(device) if device else next(model.parameters()).device
    model.to(device).eval()
    normalize = model.make_normalize().to(device)
    return normalize(image[None].to(device)).contiguous(memory_format=torch.channels_last)


@contextlib.contextmanager
def error_context(source: Any) -> Iterator[None]:
    """Put the path of a file in front of the message of an error about it; other sources have no name."""
    try:
        yield
    except ValueError as error:
        if not isinstance(source, (str, os.PathLike)) or str(source) in str(error):
            raise
        raise ValueError(f"{source}: {error}") from None


def to_image_tensor(x: Any, in_chans: int = 3) -> Tensor:
    """Convert one image of any kind to a tensor (in_chans, H, W) with values in 0 .. 255.

    Args:
        x: a path, a PIL image, an array (H, W) or (H, W, C), or a tensor (C, H, W), see :func:`gatezoo.predict`.
        in_chans: number of channels of the network's images.

    Raises:
        ValueError: the image has another type, rank, number of channels, dtype or range, or contains NaN or infinity.
    """
    if isinstance(x, (str, os.PathLike)):
        x = load_image(x)
    elif isinstance(x, Image.Image):
        x = to_rgb(x)
    elif isinstance(x, np.ndarray):
        x = torch.from_numpy(np.ascontiguousarray(x))
        x = x.permute(2, 0, 1) if x.ndim == 3 else x.expand(in_chans, *x.shape)
    elif not isinstance(x, Tensor):
        raise ValueError(f"an image must be a path, a PIL image, an array or a tensor; got {type(x).__name__}")
    if x.ndim != 3 or x.shape[0] != in_chans:
        raise ValueError(
            f"an image must have {in_chans} channels: an array (H, W, {in_chans}) or a tensor ({in_chans}, H, W); "
            f"got {tuple(x.shape)}"
        )
    if x.dtype == torch.uint8:
        return x
    if not x.is_floating_point():
        raise ValueError(f"an image must be uint8 (0 .. 255) or floating point (0 .. 1); got {x.dtype}")
    if not torch.isfinite(x).all():
        raise ValueError("an image must be finite; it contains NaN or infinity")
    low, high = x.min().item(), x.max().item()
    if low < 0 or high > 1:
        raise ValueError(
            f"a floating point image must be in 0 .. 1; got {low:.3g} .. {high:.3g}: "
            "for normalized images call model(images)"
        )
    return x * 255


def list_images(folder: str | os.PathLike) -> list[Path]:
    """Return the images of a folder in order of name.

    Raises:
        ValueError: the folder contains no image.
    """
    paths = sorted(path for path in Path(folder).iterdir() if path.suffix.lower() in IMAGE_SUFFIXES)
    if not paths:
        raise ValueError(f"a folder must hold images ({' '.join(IMAGE_SUFFIXES)}); {folder} has none")
    return paths


def expand_images(x: Any) -> list[Any] | None:
    """Return the single images of a folder, a list or a batch (B, C, H, W); None if ``x`` is a single image."""
    if isinstance(x, (str, os.PathLike)) and Path(x).is_dir():
        return list(list_images(x))
    if isinstance(x, (list, tuple)) or (isinstance(x, Tensor) and x.ndim == 4):
        return list(x)
    return None
