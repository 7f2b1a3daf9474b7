"""Images in, class maps at their own size out."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from ..segmenters.base import SemanticSegmenter
from .depth import depth_passes
from .inputs import error_context, list_images, to_batch, to_image_tensor
from .modes import InferenceMode, WholeImage
from .passes import MAX_ITERATIONS, TOLERANCE, classes_of_passes, iterate_until_stable, with_iterations


def predict(
    model: SemanticSegmenter,
    x: Any,
    iterations: int | Literal["auto"] | None = None,
    device: str | torch.device | None = None,
    mode: InferenceMode | None = None,
    tolerance: float = TOLERANCE,
    depth: bool = False,
    blur: float = 0.0,
) -> np.ndarray | tuple[np.ndarray, np.ndarray] | list[np.ndarray] | list[tuple[np.ndarray, np.ndarray]]:
    """The class of every pixel, at the image's own size.

    Args:
        model: a network of the zoo. It is put into evaluation mode.
        x: a path, a PIL image, an array (H, W), (H, W, 3) or (H, W, C), or a tensor (C, H, W): one class map.
            A folder, a list of any of these, or a tensor (B, C, H, W): a list of class maps. Arrays and tensors are
            uint8 in 0 .. 255 or floating point in 0 .. 1, as torchvision has them; not normalised.
        iterations: passes of an unrolled network; default: its own. "auto": for each image as many as it takes until
            a pass changes at most the share ``tolerance`` of its pixels, ten at most; their number is that of
            :func:`predict_iterations`.
        device: default: where the network is.
        mode: see :mod:`gatezoo.inference`; default: the whole image, single scale.
        depth: give the depth of every pixel, too, of a network that predicts it from whole images, at their own size
            or scaled by one factor: ``mode=MultiScale((0.5,), flip=False)`` shows it a image of half the size.
        blur: standard deviation, in pixels, of a Gaussian that smooths it.

    Returns:
        (H, W) of uint8 (of int32 beyond 256 classes), or a list of them; a folder's images in order of name. With
        ``depth`` a pair of that and the depth in metres, (H, W) of float32.

    Raises:
        ValueError: what is no image: its message names the file and says what is wrong.
    """
    if isinstance(x, Tensor) and x.ndim == 4:
        x = list(x)
    if isinstance(x, (str, os.PathLike)) and Path(x).is_dir():
        x = list_images(x)
    if isinstance(x, (list, tuple)):
        return [predict(model, item, iterations, device, mode, tolerance, depth, blur) for item in x]
    if depth:
        look = depth_passes(model, x, iterations, device, tolerance, blur, mode)[-1]
        return look.classes, look.metres
    return _class_maps(model, x, iterations, device, mode or WholeImage(), tolerance)[-1]


def predict_iterations(
    model: SemanticSegmenter,
    x: Any,
    iterations: int | Literal["auto"] | None = None,
    device: str | torch.device | None = None,
    tolerance: float = TOLERANCE,
) -> list[np.ndarray]:
    """As :func:`predict` for one image: the class map of every pass, the last one last."""
    return _class_maps(model, x, iterations, device, None, tolerance)


@torch.inference_mode()
def _class_maps(
    model: SemanticSegmenter,
    x: Any,
    iterations: int | Literal["auto"] | None,
    device: str | torch.device | None,
    mode: InferenceMode | None,
    tolerance: float,
) -> list[np.ndarray]:
    """The class map of a mode, or those of every pass: with no mode, or as many passes as it takes."""
    model.require_task("semantic", "use gatezoo.predict_instances")
    if iterations == "auto" and mode not in (None, WholeImage()):
        raise ValueError(f"iterations='auto' looks at whole images; got {mode}: leave out the mode, or tell a number")
    with error_context(x):
        batch = to_batch(model, to_image_tensor(x, model.in_chans), device)
        if iterations == "auto":
            maps = iterate_until_stable(model, batch, tolerance, MAX_ITERATIONS)
        elif mode is None:
            maps = classes_of_passes(model, batch, iterations)
        else:
            maps = [mode.classes(with_iterations(model, iterations), batch)]
    return [classes[0].cpu().numpy() for classes in maps]
