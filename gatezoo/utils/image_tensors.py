"""Convert images of any kind to tensors."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from .images import load_image, pil_to_tensor

FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


def to_image_tensor(x: Any, in_chans: int = 3, image_max: float | None = None) -> Tensor:
    """Convert one image of any kind to a tensor (in_chans, H, W) with values in 0 .. 255, uint8 or float32.

    Args:
        x: a path, a PIL image, an array (H, W) or (H, W, C), or a tensor (C, H, W), see :func:`gatezoo.predict`.
        in_chans: number of channels of the network's images.
        image_max: value of full brightness; default: 255 of uint8, 65535 of uint16, 1 of floating point.

    Raises:
        ValueError: the image has another type, rank, number of channels, dtype or range, or contains NaN or infinity.
    """
    if isinstance(x, (str, os.PathLike)):
        return load_image(x, in_chans, image_max)
    if isinstance(x, Image.Image):
        return pil_to_tensor(x, in_chans, image_max)
    if isinstance(x, np.ndarray):
        try:
            x = torch.from_numpy(np.ascontiguousarray(x, dtype=x.dtype.newbyteorder("=")))
        except TypeError:
            raise ValueError(
                f"an image must be an array of numbers; got dtype {x.dtype}: convert it to uint8"
            ) from None
        x = x.permute(2, 0, 1) if x.ndim == 3 else x.expand(in_chans, *x.shape)
    elif not isinstance(x, Tensor):
        raise ValueError(f"an image must be a path, a PIL image, an array or a tensor; got {type(x).__name__}")
    if x.ndim != 3 or x.shape[0] != in_chans:
        raise ValueError(
            f"an image must have {in_chans} channels: an array (H, W, {in_chans}) or a tensor ({in_chans}, H, W); "
            f"got {tuple(x.shape)}"
        )
    check_dense("an image", x)
    if x.dtype in FLOATS:
        full = 1.0
    elif x.dtype in (torch.uint8, torch.uint16):
        full = torch.iinfo(x.dtype).max
    else:
        raise ValueError(f"an image must be uint8, uint16 or floating point (0 .. 1); got {x.dtype}")
    full = image_max or full
    if x.dtype == torch.uint8 and full == 255:
        return x
    return _scale(x.detach().float(), full)


def check_dense(what: str, x: Tensor) -> None:
    """Raise ValueError unless a tensor holds values that can be read."""
    if x.layout != torch.strided or x.is_meta or x.numel() == 0:
        raise ValueError(
            f"{what} must be a dense tensor that holds values; got {tuple(x.shape)}, {x.layout} on {x.device}: "
            "convert it"
        )


def _scale(image: Tensor, full: float) -> Tensor:
    """Scale an image in 0 .. ``full`` to 0 .. 255."""
    if not torch.isfinite(image).all():
        raise ValueError("an image must be finite; it contains NaN or infinity")
    low, high = image.min().item(), image.max().item()
    if low < 0 or high > full:
        raise ValueError(
            f"an image must be in 0 .. {full:g}; got {low:.3g} .. {high:.3g}: for normalized images call model(images)"
        )
    return image * (255 / full)
