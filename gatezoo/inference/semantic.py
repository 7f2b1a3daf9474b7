"""Pictures in, class maps at their own size out."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from ..segmenters.base import SegmentationModel
from .depth import depth_passes
from .inputs import as_picture, naming, pictures_in, prepare
from .modes import Inference, Whole
from .passes import MOST, TOLERANCE, classes_of_passes, stable_classes, with_iterations


def predict(
    model: SegmentationModel,
    x: Any,
    iterations: int | Literal["auto"] | None = None,
    device: str | torch.device | None = None,
    mode: Inference | None = None,
    tolerance: float = TOLERANCE,
    depth: bool = False,
    blur: float = 0.0,
) -> np.ndarray | tuple[np.ndarray, np.ndarray] | list[np.ndarray] | list[tuple[np.ndarray, np.ndarray]]:
    """The class of every pixel, at the picture's own size.

    Args:
        model: a network of the zoo. It is put into evaluation mode.
        x: a path, a PIL picture, an array (H, W), (H, W, 3) or (H, W, C), or a tensor (C, H, W): one class map.
            A folder, a list of any of these, or a tensor (B, C, H, W): a list of class maps. Arrays and tensors are
            uint8 in 0 .. 255 or floating point in 0 .. 1, as torchvision has them; not normalised.
        iterations: passes of an unrolled network; default: its own. "auto": for each picture as many as it takes until
            a pass changes at most the share ``tolerance`` of its pixels, ten at most; their number is that of
            :func:`passes`.
        device: default: where the network is.
        mode: see :mod:`gatezoo.inference`; default: the whole picture, single scale.
        depth: give the depth of every pixel, too, of a network that predicts it from whole pictures, at their own size
            or scaled by one factor: ``mode=MultiScale((0.5,), flip=False)`` shows it a picture of half the size.
        blur: standard deviation, in pixels, of a Gaussian that smooths it.

    Returns:
        (H, W) of uint8 (of int32 beyond 256 classes), or a list of them; a folder's pictures in order of name. With
        ``depth`` a pair of that and the depth in metres, (H, W) of float32.

    Raises:
        ValueError: what is no picture: its message names the file and says what is wrong.
    """
    if isinstance(x, Tensor) and x.ndim == 4:
        x = list(x)
    if isinstance(x, (str, os.PathLike)) and Path(x).is_dir():
        x = pictures_in(x)
    if isinstance(x, (list, tuple)):
        return [predict(model, item, iterations, device, mode, tolerance, depth, blur) for item in x]
    if depth:
        look = depth_passes(model, x, iterations, device, tolerance, blur, mode)[-1]
        return look.classes, look.metres
    return _class_maps(model, x, iterations, device, mode or Whole(), tolerance)[-1]


def passes(
    model: SegmentationModel,
    x: Any,
    iterations: int | Literal["auto"] | None = None,
    device: str | torch.device | None = None,
    tolerance: float = TOLERANCE,
) -> list[np.ndarray]:
    """As :func:`predict` for one picture: the class map of every pass, the last one last."""
    return _class_maps(model, x, iterations, device, None, tolerance)


@torch.inference_mode()
def _class_maps(
    model: SegmentationModel,
    x: Any,
    iterations: int | Literal["auto"] | None,
    device: str | torch.device | None,
    mode: Inference | None,
    tolerance: float,
) -> list[np.ndarray]:
    """The class map of a mode, or those of every pass: with no mode, or as many passes as it takes."""
    model.must_be("semantic", "use gatezoo.predict_instances")
    if iterations == "auto" and mode not in (None, Whole()):
        raise ValueError(f"iterations='auto' looks at whole pictures; got {mode}: leave out the mode, or tell a number")
    with naming(x):
        batch = prepare(model, as_picture(x, model.in_chans), device)
        if iterations == "auto":
            maps = stable_classes(model, batch, tolerance, MOST)
        elif mode is None:
            maps = classes_of_passes(model, batch, iterations)
        else:
            maps = [mode.classes(with_iterations(model, iterations), batch)]
    return [classes[0].cpu().numpy() for classes in maps]
