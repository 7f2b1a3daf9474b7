"""Decoders of depth files: a path in, metres out, float32 (H, W), NaN where nothing was measured."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from ...utils.text import first_line
from .labels import INDEX_MODES, INTEGER_MODES, open_raster
from .layout import match_files

# Endings of the names of a user's depth files; ``gatezoo predict --depth`` writes the first.
DEPTH_ENDINGS = ("_depth.png", ".npy", ".png")


def _load_values(path: Path) -> np.ndarray:
    image = open_raster(path, "depth")
    if image.mode not in INTEGER_MODES:
        raise ValueError(f"depth must be one channel of whole numbers; {path} has mode {image.mode}")
    return np.array(image)


def scaled_png(metres: float, missing: tuple[int, ...] = (0,)) -> partial[np.ndarray]:
    """Make a decoder of ``depth = metres * value``; the values in ``missing`` mean that nothing was measured."""
    return partial(_scaled_png, metres=metres, missing=missing)


def _scaled_png(path: Path, metres: float, missing: tuple[int, ...]) -> np.ndarray:
    values = _load_values(path)
    depth = values.astype(np.float32) * np.float32(metres)
    depth[np.isin(values, missing)] = np.nan
    return depth


def depth_files(images: Sequence[Path], source: Path) -> list[Path]:
    """Return the file of each image that :func:`metres_file` reads.

    Args:
        images: the image files.
        source: the file of a single image, or a folder of ``STEM_depth.png``, ``STEM.npy`` or ``STEM.png``.

    Raises:
        ValueError: an image without depth.
    """
    return match_files(images, source, DEPTH_ENDINGS, "depth maps (--depth-map)")


def metres_file(path: Path) -> np.ndarray:
    """Read depth that a user gives for an image: a 16-bit PNG of millimetres, 0 = missing, or an .npy of metres.

    Raises:
        ValueError: a file that cannot be read, or of other numbers.
    """
    if path.suffix.lower() != ".npy":
        if open_raster(path, "depth").mode in INDEX_MODES:
            raise ValueError(f"depth must be a PNG of 16 bits, in millimetres, or an .npy in metres; {path} has 8 bits")
        return _scaled_png(path, 0.001, (0,))
    try:
        # Mapped, a file that states more than it holds takes no memory.
        depth = np.load(path, mmap_mode="r", allow_pickle=False)
    except Exception as error:  # the header is evaluated as Python
        raise ValueError(f"depth must be an intact .npy file; {path} cannot be read: {first_line(error)}") from None
    if not isinstance(depth, np.ndarray) or depth.ndim != 2 or depth.dtype.kind != "f":
        raise ValueError(f"depth must be an array (H, W) of floating point numbers, in metres; {path} is not")
    return depth.astype(np.float32)


def sun_png(path: Path) -> np.ndarray:
    """Read depth of SUN RGB-D: millimetres rotated left by three of 16 bits, at most 8 m; 0 is missing.

    As in ``read3dPoints.m`` of the publishers' toolbox.
    """
    values = _load_values(path).astype(np.uint16)
    depth = (values >> 3 | values << 13).astype(np.float32) / 1000
    return np.where(values == 0, np.float32(np.nan), depth.clip(max=8))


def cityscapes_png(path: Path) -> np.ndarray:
    """Read depth of Cityscapes: baseline * focal length / disparity, disparity = (value - 1) / 256; 0 is missing.

    Baseline (metres) and focal length (pixels) are those in the image's file in ``camera``.
    """
    split, city = path.parts[-3:-1]
    name = path.name.replace("_disparity.png", "_camera.json")
    file = path.parents[3] / "camera" / split / city / name
    try:
        camera = json.loads(file.read_text(encoding="utf-8"))
        factor = camera["extrinsic"]["baseline"] * camera["intrinsic"]["fx"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"metres from disparity need the camera's baseline and fx; {file} gives none: {error}"
        ) from None
    values = _load_values(path).astype(np.float32)
    with np.errstate(divide="ignore"):
        # A disparity of 0 would be infinitely far: no measurement either.
        return np.where(values > 1, np.float32(factor) * 256 / (values - 1), np.float32(np.nan)).astype(np.float32)
