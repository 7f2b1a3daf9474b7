"""Predict the label maps of images, at the images' own size."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from ..segmenters.base import BaseSegmenter, SemanticSegmenter
from ..utils.devices import resolve_device
from ..utils.modules import copy_for_inference
from ..utils.parallel import read_ahead
from .image_files import error_context
from .inputs import check_model, iter_images, to_depth_tensor
from .modes import InferenceMode
from .onnx_predictor import is_exported, open_exported
from .passes import TOLERANCE, Iterations
from .prediction import Prediction
from .predictor import Predictor

# For fewer images a network is not prepared, which copies its weights and runs it three times on a small image. Between
# what tools/benchmark.py --predict --size 416 calls "pays_from" for the networks with large and with small heads.
_WORTH_PREPARING = 5


def predict(
    model: SemanticSegmenter | str | os.PathLike,
    x: Any,
    iterations: Iterations = None,
    device: str | torch.device | None = None,
    mode: InferenceMode | None = None,
    tolerance: float = TOLERANCE,
    depth: bool = False,
    blur: float = 0.0,
    *,
    probabilities: bool = False,
    depth_map: Any = None,
) -> np.ndarray | Prediction | list[Any]:
    """Predict the class of every pixel, at the image's own size.

    For many calls, :class:`gatezoo.Predictor` prepares the network only once.

    Args:
        model: a semantic segmentation network; it is not changed. Or the path of an ``.onnx`` or ``.xml`` file that
            :func:`gatezoo.export` wrote: of such, ``x`` is one or several paths, PIL images or arrays (H, W, C) of
            uint8, and no further argument is supported.
        x: a path, a PIL image, an array (H, W), (H, W, 3) or (H, W, C), or a tensor (C, H, W): one image. A folder, a
            list of any of these, or a batch (B, C, H, W) or (B, H, W, C) of an array: a list of results. Arrays and
            tensors are uint8 in 0 .. 255, uint16 in 0 .. 65535 or floating point in 0 .. 1; not normalized.
        iterations: of an unrolled network; default: its own number. "auto": for each image, iterate until an iteration
            changes at most the share ``tolerance`` of its pixels, ten times at most.
        device: that it runs on, such as "auto" or "cuda:1"; default: where the network is.
        mode: see :mod:`gatezoo.inference.modes`; default: the whole image, above 4 megapixels windows of 1024x1024.
        tolerance: see ``iterations``.
        depth: also predict the depth of every pixel. The network must predict it, from whole images at their own size
            or scaled by one factor: ``mode=MultiScale((0.5,), flip=False)`` shows it an image of half the size.
        blur: standard deviation, in pixels, of a Gaussian that smooths the depth.
        probabilities: also compute the probability of each class, and the instability.
        depth_map: depth of the image in metres, (H, W), for networks that take it (``gate="given"``); a list of them
            for several images.

    Returns:
        (H, W) of uint8 (of int32 for more than 256 classes), or a list of them; the images of a folder are in order of
        name. With ``depth`` or ``probabilities`` each is a :class:`gatezoo.inference.Prediction`.

    Raises:
        ValueError: ``x`` is not an image; the message contains the path of a file.
    """
    images, single = iter_images(x)
    if isinstance(model, (str, os.PathLike)) and is_exported(os.fspath(model)):
        others = {"iterations": iterations, "device": device, "mode": mode, "depth": depth, "blur": blur}
        others |= {"probabilities": probabilities, "depth_map": depth_map is not None}
        found = _predict_exported(model, images, others)
        return found[0] if single else found
    options: dict[str, Any] = {"mode": mode, "iterations": iterations, "tolerance": tolerance, "blur": blur}
    predictor = _predictor(model, device, len(images), **options)
    depth_maps = [depth_map] if single else (depth_map or [None] * len(images))
    if len(depth_maps) != len(images):
        raise ValueError(f"depth_map must be a list of one for each image; got {len(depth_maps)} for {len(images)}")
    results: list[Any] = []
    for given, (image, pixels) in zip(depth_maps, read_ahead(images, predictor.read), strict=True):
        with error_context(image):
            decoded, metres = pixels(), None if given is None else to_depth_tensor(given)
            prediction = predictor.predict_decoded(decoded, metres, probabilities=probabilities, depth=depth)
        results.append(prediction if depth or probabilities else prediction.classes)
    return results[0] if single else results


def predict_iterations(
    model: SemanticSegmenter,
    x: Any,
    iterations: Iterations = None,
    device: str | torch.device | None = None,
    tolerance: float = TOLERANCE,
) -> list[np.ndarray]:
    """Predict the label map of one image after each iteration, the last one last.

    The arguments are those of :func:`predict`.
    """
    predictor = _predictor(model, device, 1, iterations=iterations, tolerance=tolerance)
    return [one.classes for one in predictor.predict(x, all_passes=True).passes]


def _predict_exported(file: str | os.PathLike, images: list[Any], options: Mapping[str, object]) -> list[Any]:
    """Predict images with an exported network."""
    for name, value in options.items():
        if value:
            raise ValueError(f"{name} is not supported for an exported network; got {value!r} for {file}: leave it out")
    predictor = open_exported(file)
    return [predictor.predict(image) for image in images]


def _predictor(model: Any, device: str | torch.device | None, images: int, **options: Any) -> Predictor:
    """Return a predictor of so many images, prepared if that is worth the time."""
    check_model(model, "semantic", "use gatezoo.predict_instances")
    if images >= _WORTH_PREPARING:
        return Predictor(model, device, **options)
    network = model if is_ready(model, device) else copy_for_inference(model, device and resolve_device(device))
    return Predictor(network, shared=True, **options)


def is_ready(model: BaseSegmenter, device: str | torch.device | None) -> bool:
    """Return whether a network can be used as it is: in evaluation mode, and where it is to run."""
    return device is None and not any(module.training for module in model.modules())
