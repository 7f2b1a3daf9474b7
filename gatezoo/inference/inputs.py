"""Convert the images that users pass to the tensors that networks take."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..segmenters.base import BaseSegmenter
from ..utils.image_tensors import check_dense
from .image_files import list_images


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
    check_dense("depth_map", depth)
    return depth.float()


def iter_images(x: Any) -> tuple[list[Any], bool]:
    """Return the single images of a folder, a list or a batch (B, C, H, W), and whether ``x`` was a single image."""
    if isinstance(x, (str, os.PathLike)) and os.path.isdir(x):
        return list(list_images(x)), False
    if isinstance(x, (list, tuple)) or (isinstance(x, (Tensor, np.ndarray)) and x.ndim == 4):
        return list(x), False
    return [x], True
