"""Read image files as cameras, microscopes and editors write them: 8 and 16 bits, floats, any number of channels."""

from __future__ import annotations

import math
import os
import stat
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError

from .image_bytes import ImageBytes, ImageFile, opened
from .optional import require_package
from .tiff import is_tiff, pillow_keeps_values, read_tiff

if TYPE_CHECKING:
    from torch import Tensor

IMAGE_SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
# Pillow reads many more, some of them through other programs: an EPS by Ghostscript.
FORMATS = ("PNG", "JPEG", "BMP", "GIF", "TIFF", "WEBP", "PPM")
# Just below the number at which Pillow itself refuses; its warning at half of that is of no use beside this bound.
MAX_PIXELS = 178_000_000
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)

# Least height and width of an image for most networks.
MIN_SIZE = 32

# Values of full brightness by the type of the file's numbers, where the data set gives none.
DEFAULT_IMAGE_MAX = {"uint8": 255.0, "uint16": 65535.0, "float16": 1.0, "float32": 1.0, "float64": 1.0}
_LUMINANCE = np.array([[0.299], [0.587], [0.114]], dtype=np.float32)  # ITU-R BT.601, as in Pillow


@dataclass(frozen=True)
class Pixels:
    """Content of an image file, upright.

    Attributes:
        values: (H, W, C), numbers as stored.
        has_alpha: whether the last channel is transparency.
        turned: whether the orientation that the file states turned the image by a right angle.
    """

    values: np.ndarray
    has_alpha: bool = False
    turned: bool = False


def load_image(path: str | os.PathLike | ImageBytes, in_chans: int = 3, image_max: float | None = None) -> Tensor:
    """Load an image file as (in_chans, H, W): uint8 if it has 8 bits, else float32 in 0 .. 255.

    The orientation that the file states is applied and transparency is laid on white. Gray gives three equal channels,
    and color one channel of luminance, where the network takes these; a file with transparency also fits a network of
    as many channels, transparency among them. Values are scaled alike in all files: 255 * value / image_max.

    Args:
        path: the file.
        in_chans: channels of the network's images.
        image_max: value of full brightness in the data set. Default: 255 for 8 bits, 65535 for 16, 1 for floats.

    Raises:
        ValueError: not a readable image (see :func:`open_pil`), another number of channels, NaN, infinity, negative
            values or values above ``image_max``.
    """
    return _to_tensor(read_pixels(path), in_chans, image_max, path)


def pil_to_tensor(image: Image.Image, in_chans: int = 3, image_max: float | None = None) -> Tensor:
    """Convert a PIL image of any mode as :func:`load_image` does."""
    return _to_tensor(_pixels_of(image), in_chans, image_max, "the image")


def read_pixels(path: str | os.PathLike | ImageBytes) -> Pixels:
    """Read an image file without scaling its values.

    Raises:
        ValueError: as :func:`open_pil`, or a file that needs a package which is not installed.
    """
    path, what = _image_file(path), "an image"
    start = _read_start(path, what)
    if is_tiff(start) and not pillow_keeps_values(path):
        with _intact(path, what):
            tiff = read_tiff(path, _check_size)
        values = _upright(tiff.values, tiff.orientation)
        return Pixels(values, tiff.has_alpha, tiff.orientation >= 5)
    with open_pil(path, what) as image, _intact(path, what):
        if image.format == "PNG" and start[24] == 16 and image.mode.startswith("RGB"):
            # Pillow reads 16 bits of one channel only, of several just the upper 8.
            imagecodecs = require_package("imagecodecs", f"{path}, a color PNG of 16 bits,", "tiff")
            values, orientation = imagecodecs.png_decode(path.read_bytes()), image.info["orientation"]
            return Pixels(_upright(values, orientation), values.shape[2] in (2, 4), orientation >= 5)
        return _pixels_of(image)


@contextmanager
def open_pil(path: str | os.PathLike | ImageBytes, what: str) -> Iterator[Image.Image]:
    """Open an image file with Pillow, decode it, and close it at the end of the ``with`` block.

    Args:
        path: the file.
        what: name of its content in messages, such as "an image" or "labels".

    Raises:
        ValueError: no such file, not a regular file, not in one of ``FORMATS``, more than ``MAX_PIXELS``, truncated.
    """
    path = _image_file(path)
    _read_start(path, what)
    with _intact(path, what):
        image = Image.open(opened(path), formats=FORMATS)
    with image:
        _check_size(path, *image.size)
        with _intact(path, what):
            image.load()
            # While the file is open: the orientation of some formats is read from disk.
            image.info["orientation"] = image.getexif().get(ExifTags.Base.Orientation, 1)
        yield image


def check_pixels(pixels: Pixels, in_chans: int | None, image_max: float | None, source: object) -> None:
    """Check that an image has the channels of a network and values in 0 .. image_max.

    Args:
        pixels: the image.
        in_chans: channels of the network's images; None: any number.
        image_max: value of full brightness; None: that of the type of the file's numbers.
        source: the file, for messages.

    Raises:
        ValueError: it has not.
    """
    found = pixels.values.shape[2]
    colors = found - 1 if pixels.has_alpha else found
    if in_chans not in (None, found) and (colors, in_chans) not in ((1, 1), (3, 3), (1, 3), (3, 1)):
        raise ValueError(
            f"the number of channels of an image must be {in_chans}; {source} has {found}: convert it, or use a "
            f"network with in_chans={found}"
        )
    full = _full_value(pixels.values, image_max, source)
    if pixels.values.dtype == np.uint8 and full > 255:
        raise ValueError(
            f"an image must have more than 8 bits if image_max is {full:g}; {source} has 8: convert it, or leave out "
            "image_max (--image-max)"
        )
    check_image_values(_colors(pixels, in_chans), full, source)


def check_image_values(values: np.ndarray, image_max: float, source: object) -> None:
    """Check that all values of an image are in 0 .. image_max.

    Raises:
        ValueError: NaN, infinity, negative values or values above ``image_max``; names the source.
    """
    low, high = (float(values.min()), float(values.max())) if values.size else (0.0, 0.0)
    if math.isnan(low) or not 0 <= low <= high <= image_max:
        wrong = low if math.isnan(low) or low < 0 else high
        raise ValueError(
            f"values of an image must be in 0 .. {image_max:g}; {source} holds {wrong:g}: fix the file, or pass the "
            "value of full brightness as image_max (--image-max)"
        )


def check_image_max(image_max: float | None) -> None:
    """Raise ValueError unless ``image_max`` is None or a positive number."""
    if image_max is not None and not (image_max > 0 and math.isfinite(image_max)):
        raise ValueError(f"image_max must be a positive number; got {image_max}: pass the value of full brightness")


def _to_tensor(pixels: Pixels, in_chans: int, image_max: float | None, source: object) -> Tensor:
    """Convert an image to a tensor of a network's channels: see :func:`load_image`."""
    check_pixels(pixels, in_chans, image_max, source)
    full = _full_value(pixels.values, image_max, source)
    is_plain = pixels.values.dtype == np.uint8
    if is_plain and pixels.has_alpha and pixels.values.shape[2] != in_chans:
        image = Image.fromarray(pixels.values).convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
        pixels = Pixels(np.array(image.convert("RGB")))
    values = _colors(pixels, in_chans)
    if not (is_plain and full == 255):
        values = values.astype(np.float32) / np.float32(full) * 255
        if values.shape[2] < pixels.values.shape[2]:
            opacity = pixels.values[..., -1:].astype(np.float32) / _full_value(pixels.values, None, source)
            values = 255 + (values - 255) * opacity.clip(0, 1)
    if values.shape[2] == 3 and in_chans == 1:
        is_plain = values.dtype == np.uint8
        values = np.array(Image.fromarray(values).convert("L"))[..., None] if is_plain else values @ _LUMINANCE
    elif values.shape[2] == 1:
        values = values.repeat(in_chans, 2)
    import torch  # here: what reads images for an exported network runs without it

    return torch.from_numpy(np.ascontiguousarray(values)).permute(2, 0, 1)


def _colors(pixels: Pixels, in_chans: int | None) -> np.ndarray:
    """Return the channels without transparency, unless the network takes that too."""
    return pixels.values[..., :-1] if pixels.has_alpha and pixels.values.shape[2] != in_chans else pixels.values


def _full_value(values: np.ndarray, image_max: float | None, source: object) -> float:
    """Return the value of full brightness."""
    check_image_max(image_max)
    full = image_max or DEFAULT_IMAGE_MAX.get(values.dtype.name)
    if full is None:
        raise ValueError(
            f"an image of {values.dtype} numbers must come with image_max; {source} has none: pass the value of full "
            "brightness as image_max (--image-max)"
        )
    return full


def _pixels_of(image: Image.Image) -> Pixels:
    """Return the content of a decoded PIL image as gray or RGB, with transparency if it has some."""
    orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
    has_alpha = image.has_transparency_data
    if image.mode.startswith("I") or image.mode == "F":
        has_alpha, values = False, np.array(image)
        if image.mode == "I" and image.format in ("PNG", "PPM"):
            values = values.astype(np.uint16)
    elif has_alpha:
        values = np.array(image if image.mode == "LA" else image.convert("RGBA"))
    else:
        values = np.array(image.convert("L" if image.mode in ("1", "L") else "RGB"))
    values = values.reshape(*values.shape[:2], -1)
    return Pixels(_upright(values, orientation), has_alpha, orientation >= 5)


def _upright(values: np.ndarray, orientation: int) -> np.ndarray:
    """Turn an image (H, W, C) as its EXIF orientation, 1 .. 8, says."""
    if orientation >= 5:
        values = values.swapaxes(0, 1)
    if orientation in (2, 3, 6, 7):
        values = values[:, ::-1]
    return values[::-1] if orientation in (3, 4, 7, 8) else values


def _image_file(path: str | os.PathLike | ImageBytes) -> ImageFile:
    return path if isinstance(path, ImageBytes) else Path(path)


def _read_start(path: ImageFile, what: str) -> bytes:
    """Return the first 26 bytes of a file, as many as tell the bit depth of a PNG."""
    start = path.data[:26] if isinstance(path, ImageBytes) else _read_file_start(path, what)
    if not start:
        raise ValueError(f"{what} must be an intact file; {path} cannot be read: it is empty")
    return start


def _read_file_start(path: Path, what: str) -> bytes:
    try:
        kind, start = os.stat(path).st_mode, None
        if stat.S_ISREG(kind):  # opening a pipe would wait for its other end
            with path.open("rb") as file:
                start = file.read(26)
    except (FileNotFoundError, NotADirectoryError):
        raise ValueError(f"{what} must be a file; there is none at {path}") from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise ValueError(f"{what} must be a readable file; {reason}: {path}") from None
    if start is None:
        found = "a folder" if stat.S_ISDIR(kind) else "a pipe, socket or device"
        raise ValueError(f"{what} must be a regular file; {path} is {found}")
    return start


def _check_size(path: ImageFile, width: int, height: int, channels: int = 3) -> None:
    """Check the size that a file states before it is decoded."""
    if width * height * max(1.0, channels / 4) > MAX_PIXELS:
        raise ValueError(
            f"an image must have at most {MAX_PIXELS // 10**6} megapixels of four channels; {path} is {width} x "
            f"{height} of {channels}: cut it into tiles"
        )


@contextmanager
def _intact(path: ImageFile, what: str) -> Iterator[None]:
    """Translate the errors of decoders, which may be of any kind."""
    try:
        yield
    except UnidentifiedImageError:
        raise ValueError(f"{what} must be in one of the formats {', '.join(FORMATS)}; {path} is not") from None
    except Image.DecompressionBombError:
        raise ValueError(
            f"{what} must have at most {MAX_PIXELS // 10**6} megapixels; {path} has more: cut it into tiles"
        ) from None
    except Exception as error:
        if isinstance(error, ValueError) and str(path) in str(error):
            raise
        reason = " ".join(str(error).split())
        raise ValueError(
            f"{what} must be an intact file; {path} cannot be read: {reason or type(error).__name__}"
        ) from None
