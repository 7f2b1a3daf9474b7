"""Pictures in, class maps at their own size out."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from ..segmenters.segmenter import SegmentationModel
from ..utils.files import make_folder, write_whole
from ..utils.images import open_picture
from ..visualization import figures as visualize
from ..visualization.depth import depth_picture, loops_figure
from .depth import check_depth, depth_passes
from .inputs import as_picture, naming, pictures_in, prepare
from .modes import MOST, TOLERANCE, Inference, Whole, classes_of_passes, stable_classes, with_iterations


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


def unlike_stems(pictures: Sequence[str | os.PathLike]) -> list[Path]:
    """Paths whose results will not overwrite each other. Raises ValueError if some would."""
    paths = [Path(p) for p in pictures]
    stems = [path.stem for path in paths]
    twins = [path for path in paths if stems.count(path.stem) > 1]
    if twins:
        raise ValueError(f"pictures must differ in their names without suffix; got {twins[0]} and {twins[1]}")
    return paths


@dataclass(frozen=True)
class Written:
    """The files that one picture gave, the share of each class, largest first, and the passes it took ("auto")."""

    picture: Path
    files: list[Path]
    shares: dict[str, float]
    passes: int | None = None

    @property
    def summary(self) -> str:
        """The largest classes, for a line of text."""
        largest = ", ".join(f"{name} {share:.1%}" for name, share in list(self.shares.items())[:4])
        return largest + (f" after {self.passes} passes" if self.passes else "")


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
    model.must_be("semantic", "use predict_instance_files")
    if depth:
        check_depth(model, mode)
    paths = unlike_stems(pictures)
    out = Path(out)
    make_folder(out)
    names, palette = visualize.classes_of(model)
    for path in paths:
        picture = open_picture(path)
        with naming(path):
            looks = depth_passes(model, picture, iterations, device, tolerance, blur, mode) if depth else []
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
