"""Convert the images that users pass to the tensors that networks take."""

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

from ..segmenters.base import BaseSegmenter
from ..utils.images import IMAGE_SUFFIXES, load_image, pil_to_tensor

FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


def check_model(model: Any, task: str, hint: str) -> None:
    """Raise ValueError if ``model`` is not a network of the zoo, or of another task; see ``require_task``."""
    if not isinstance(model, BaseSegmenter):
        raise ValueError(
            f"model must be a network of the zoo; got {type(model).__name__}: pass gatezoo.create_model(NAME, "
            "pretrained=True)"
        )
    model.require_task(task, hint)


def trained_image_max(model: BaseSegmenter) -> float | None:
    """Return the value of full brightness in the image files that a network was trained on; None if not known."""
    return model.pretrained_cfg.image_max if model.pretrained_cfg else None


@contextlib.contextmanager
def error_context(source: Any) -> Iterator[None]:
    """Put the path of a file in front of the message of an error about it; other sources have no name."""
    try:
        yield
    except ValueError as error:
        if not isinstance(source, (str, os.PathLike)) or str(source) in str(error):
            raise
        raise ValueError(f"{source}: {error}") from None


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
    _check_dense("an image", x)
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


def _check_dense(what: str, x: Tensor) -> None:
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


def to_depth_tensor(depth: Any) -> Tensor:
    """Convert a depth map in metres, (H, W), of any kind to a float32 tensor.

    Raises:
        ValueError: not an array or a tensor (H, W) of floating point numbers.
    """
    if isinstance(depth, np.ndarray) and depth.dtype.kind == "f":
        depth = torch.from_numpy(np.ascontiguousarray(depth, dtype=np.float32))
    if not isinstance(depth, Tensor) or depth.ndim != 2 or not depth.is_floating_point():
        kind = f"{depth.dtype} {tuple(depth.shape)}" if hasattr(depth, "dtype") else type(depth).__name__
        raise ValueError(
            f"depth_map must be a floating point array or tensor (H, W), in metres; got {kind}: convert it"
        )
    _check_dense("depth_map", depth)
    return depth.float()


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


def iter_images(x: Any) -> tuple[list[Any], bool]:
    """Return the single images of a folder, a list or a batch (B, C, H, W), and whether ``x`` was a single image."""
    if isinstance(x, (str, os.PathLike)) and os.path.isdir(x):
        return list(list_images(x)), False
    if isinstance(x, (list, tuple)) or (isinstance(x, (Tensor, np.ndarray)) and x.ndim == 4):
        return list(x), False
    return [x], True
