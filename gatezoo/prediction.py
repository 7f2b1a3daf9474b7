"""Pictures in, class maps at their own size out."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from . import visualize
from .depth_figure import DepthLook, depth_picture, loops_figure
from .files import make_folder, write_whole
from .inference import (
    Inference,
    Whole,
    classes_of_logits,
    classes_of_passes,
    metres_of,
    outputs_of,
    stable_classes,
    with_iterations,
)
from .pictures import PICTURE_SUFFIXES, open_picture, to_rgb
from .segmenter import SegmentationModel
from .transforms import normalization_of

# With iterations="auto": the passes end when one changes at most this share of the pixels, or after so many.
TOLERANCE, MOST = 0.005, 10


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
        depth: give the depth of every pixel, too, of a network that predicts it from whole pictures.
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
        _check_depth(model, mode)
        look = depth_passes(model, x, iterations, device, tolerance, blur)[-1]
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
def depth_passes(
    model: SegmentationModel,
    x: Any,
    iterations: int | Literal["auto"] | None = None,
    device: str | torch.device | None = None,
    tolerance: float = TOLERANCE,
    blur: float = 0.0,
) -> list[DepthLook]:
    """As :func:`predict` with depth for one picture: classes, depth and scales of every pass, the last one last."""
    _check_depth(model, None)
    with _naming(x):
        batch = _batch_of(model, x, device)
        if iterations == "auto":
            iterations = len(stable_classes(model, batch, tolerance, MOST))
        outputs = outputs_of(model, batch, iterations)
        parts = zip(outputs.iterations, outputs.log_depth, outputs.scales, strict=True)
        return [
            DepthLook(
                classes_of_logits(logits)[0].cpu().numpy(),
                metres_of(log_depth, blur)[0].cpu().numpy(),
                weights[0].float().cpu().numpy(),
            )
            for logits, log_depth, weights in parts
        ]


def _check_depth(model: SegmentationModel, mode: Inference | None) -> None:
    if not model.predicts_depth:
        raise ValueError(
            f"depth must be predicted by the network; {model.architecture or type(model).__name__} predicts none: "
            "choose a depthgate_* with gate='predicted'"
        )
    if mode not in (None, Whole()):
        raise ValueError(f"depth is predicted from whole pictures; got {mode}: leave out the mode")


def _batch_of(model: SegmentationModel, x: Any, device: str | torch.device | None) -> Tensor:
    """A normalised batch of one picture, on the device, where the network is put, too, in evaluation mode."""
    image = as_picture(x, model.in_chans)
    device = torch.device(device) if device else next(model.parameters()).device
    model.to(device).eval()
    return normalization_of(model).to(device)(image[None].to(device)).contiguous(memory_format=torch.channels_last)


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
    if iterations == "auto" and mode not in (None, Whole()):
        raise ValueError(f"iterations='auto' looks at whole pictures; got {mode}: leave out the mode, or tell a number")
    with _naming(x):
        batch = _batch_of(model, x, device)
        if iterations == "auto":
            maps = stable_classes(model, batch, tolerance, MOST)
        elif mode is None:
            maps = classes_of_passes(model, batch, iterations)
        else:
            maps = [mode.classes(with_iterations(model, iterations), batch)]
    return [classes[0].cpu().numpy() for classes in maps]


@contextlib.contextmanager
def _naming(source: Any) -> Iterator[None]:
    """Let the message about a file name the file."""
    try:
        yield
    except ValueError as error:
        if not isinstance(source, (str, os.PathLike)) or str(source) in str(error):
            raise
        raise ValueError(f"{source}: {error}") from None


def as_picture(x: Any, in_chans: int = 3) -> Tensor:
    """One picture of any kind -> (in_chans, H, W) with values in 0 .. 255.

    Raises:
        ValueError: another type, rank, number of channels, dtype or range, or NaN.
    """
    if isinstance(x, (str, os.PathLike)):
        x = open_picture(x)
    elif isinstance(x, Image.Image):
        x = to_rgb(x)
    elif isinstance(x, np.ndarray):
        x = torch.from_numpy(np.ascontiguousarray(x))
        x = x.permute(2, 0, 1) if x.ndim == 3 else x.expand(in_chans, *x.shape)
    elif not isinstance(x, Tensor):
        raise ValueError(f"a picture must be a path, a PIL picture, an array or a tensor; got {type(x).__name__}")
    if x.ndim != 3 or x.shape[0] != in_chans:
        raise ValueError(
            f"a picture must have {in_chans} channels: an array (H, W, {in_chans}) or a tensor ({in_chans}, H, W); "
            f"got {tuple(x.shape)}"
        )
    if x.dtype == torch.uint8:
        return x
    if not x.is_floating_point():
        raise ValueError(f"a picture must be uint8 (0 .. 255) or floating point (0 .. 1); got {x.dtype}")
    if not torch.isfinite(x).all():
        raise ValueError("a picture must be finite; it holds NaN or infinity")
    low, high = x.min().item(), x.max().item()
    if low < 0 or high > 1:
        raise ValueError(
            f"a floating point picture must be in 0 .. 1; got {low:.3g} .. {high:.3g}: "
            "for normalised images call model(images)"
        )
    return x * 255


def pictures_in(folder: str | os.PathLike) -> list[Path]:
    """The pictures of a folder in order of name. Raises ValueError if there is none."""
    found = sorted(path for path in Path(folder).iterdir() if path.suffix.lower() in PICTURE_SUFFIXES)
    if not found:
        raise ValueError(f"a folder must hold pictures ({' '.join(PICTURE_SUFFIXES)}); {folder} has none")
    return found


@dataclass(frozen=True)
class Written:
    """The files that one picture gave, the share of each class, largest first, and the passes it took ("auto")."""

    picture: Path
    files: list[Path]
    shares: dict[str, float]
    passes: int | None = None


def predict_files(
    model: SegmentationModel,
    pictures: Sequence[str | os.PathLike],
    out: str | os.PathLike,
    iterations: int | Literal["auto"] | None = None,
    device: str | None = None,
    show_iterations: bool = False,
    mode: Inference | None = None,
    tolerance: float = TOLERANCE,
    depth: bool = False,
    blur: float = 0.0,
) -> Iterator[Written]:
    """Segment picture files into a folder: for each STEM an index PNG, an overlay and the share of each class.

    Writes ``STEM.png`` (class indices with a palette), ``STEM_overlay.jpg`` and ``STEM.json``, and with
    ``show_iterations`` also ``STEM_iterations.png``; with ``depth`` also ``STEM_depth.png``, millimetres in 16 bits,
    and ``STEM_loops.png``, classes, depth and chosen scale of every pass with what it changed. Each is written beside
    and then renamed: never half of one.

    Raises:
        ValueError: a picture that cannot be read, two of one stem, a folder that cannot be written, or a mode for
            the passes that ``show_iterations`` draws.
    """
    if show_iterations and mode not in (None, Whole()):
        raise ValueError(f"passes are drawn of whole pictures; got {mode}: leave out the mode or show_iterations")
    if depth:
        _check_depth(model, mode)
    paths = [Path(p) for p in pictures]
    stems = [path.stem for path in paths]
    twins = [path for path in paths if stems.count(path.stem) > 1]
    if twins:
        raise ValueError(f"pictures must differ in their names without suffix; got {twins[0]} and {twins[1]}")
    out = Path(out)
    make_folder(out)
    names, palette = visualize.classes_of(model)
    for path in paths:
        picture = open_picture(path)
        with _naming(path):
            looks = depth_passes(model, picture, iterations, device, tolerance, blur) if depth else []
            way = None if show_iterations else mode or Whole()
            maps = [look.classes for look in looks] or _class_maps(model, picture, iterations, device, way, tolerance)
        classes = maps[-1]
        counts = np.bincount(classes.ravel(), minlength=model.num_classes) / classes.size
        shares = {names[k]: round(float(counts[k]), 6) for k in np.argsort(-counts) if counts[k]}
        products = {
            f"{path.stem}.png": visualize.index_picture(classes, palette),
            f"{path.stem}_overlay.jpg": visualize.overlay(picture, classes, palette),
        }
        if show_iterations:
            products[f"{path.stem}_iterations.png"] = visualize.iterations_figure(picture, maps, names, palette)
        if depth:
            products[f"{path.stem}_depth.png"] = depth_picture(looks[-1].metres)
            products[f"{path.stem}_loops.png"] = loops_figure(picture, looks, names, palette)
        for name, product in products.items():
            write_whole(out / name, product.save)
        facts: dict[str, Any] = {"picture": str(path), "shares": shares}
        if iterations == "auto":
            facts["iterations"] = len(maps)
        text = json.dumps(facts, indent=1, ensure_ascii=False)
        write_whole(out / f"{path.stem}.json", lambda beside, text=text: beside.write_text(text, encoding="utf-8"))
        yield Written(path, [out / name for name in (*products, f"{path.stem}.json")], shares, facts.get("iterations"))
