"""Predict the label maps of images, at the images' own size."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import torch

from ..segmenters.base import SemanticSegmenter
from .depth import predict_depth_iterations
from .inputs import error_context, expand_images, to_batch, to_image_tensor
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
) -> np.ndarray | tuple[np.ndarray, np.ndarray] | list[Any]:
    """Predict the class of every pixel, at the image's own size.

    Args:
        model: a semantic segmentation network. It is put into evaluation mode.
        x: a path, a PIL image, an array (H, W), (H, W, 3) or (H, W, C), or a tensor (C, H, W): one label map.
            A folder, a list of any of these, or a tensor (B, C, H, W): a list of label maps. Arrays and tensors are
            uint8 in 0 .. 255 or floating point in 0 .. 1, as in torchvision; not normalized.
        iterations: of an unrolled network; default: its own number. "auto": for each image, iterate until an iteration
            changes at most the share ``tolerance`` of its pixels, ten times at most; the number of iterations is the
            length of :func:`predict_iterations`.
        device: default: where the network is.
        mode: see :mod:`gatezoo.inference`; default: the whole image, single scale.
        tolerance: see ``iterations``.
        depth: also return the depth of every pixel. The network must predict it, from whole images at their own size
            or scaled by one factor: ``mode=MultiScale((0.5,), flip=False)`` shows it an image of half the size.
        blur: standard deviation, in pixels, of a Gaussian that smooths the depth.

    Returns:
        (H, W) of uint8 (of int32 for more than 256 classes), or a list of them; the images of a folder are in order of
        name. With ``depth``, a pair of that and the depth in metres, (H, W) of float32.

    Raises:
        ValueError: ``x`` is not an image; the message contains the path of a file.
    """
    images = expand_images(x)
    if images is not None:
        return [predict(model, image, iterations, device, mode, tolerance, depth, blur) for image in images]
    if depth:
        last = predict_depth_iterations(model, x, iterations, device, tolerance, blur, mode)[-1]
        return last.classes, last.depth
    return label_maps(model, x, iterations, device, mode or WholeImage(), tolerance)[-1]


def predict_iterations(
    model: SemanticSegmenter,
    x: Any,
    iterations: int | Literal["auto"] | None = None,
    device: str | torch.device | None = None,
    tolerance: float = TOLERANCE,
) -> list[np.ndarray]:
    """Predict the label map of one image after each iteration, the last one last.

    The arguments are those of :func:`predict`.
    """
    return label_maps(model, x, iterations, device, None, tolerance)


@torch.inference_mode()
def label_maps(
    model: SemanticSegmenter,
    x: Any,
    iterations: int | Literal["auto"] | None,
    device: str | torch.device | None,
    mode: InferenceMode | None,
    tolerance: float,
) -> list[np.ndarray]:
    """Predict the label map of one image in a mode or, without a mode, of every iteration over the whole image.

    With iterations="auto" the label maps of all iterations are returned.
    """
    model.require_task("semantic", "use gatezoo.predict_instances")
    if iterations == "auto" and mode not in (None, WholeImage()):
        raise ValueError(
            f"iterations='auto' requires whole images; got {mode}: leave out the mode, or pass a number of iterations"
        )
    with error_context(x):
        batch = to_batch(model, to_image_tensor(x, model.in_chans), device)
        if iterations == "auto":
            maps = iterate_until_stable(model, batch, tolerance, MAX_ITERATIONS)
        elif mode is None:
            maps = classes_of_passes(model, batch, iterations)
        else:
            maps = [mode.classes(with_iterations(model, iterations), batch)]
    return [classes[0].cpu().numpy() for classes in maps]
