"""Predict label maps with an exported network: needs numpy, Pillow and onnxruntime alone.

An exported folder holds a copy of this file: ``python predict.py IMAGE OUT.png``.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from PIL import Image, ImageOps


class OnnxPredictor:
    """A network of an ONNX file that ``gatezoo export`` wrote; its metadata say how images are prepared.

    Args:
        file: the ONNX file.

    Attributes:
        class_names: name of each class.
        palette: color of each class, (red, green, blue).
        info: all metadata of the file.

    Raises:
        ValueError: a file that is not readable or was not written by ``gatezoo export``.
    """

    def __init__(self, file: str | os.PathLike):
        if not Path(file).is_file():
            raise ValueError(f"an exported network must be a file; there is none at {file}: run gatezoo export")
        try:
            self._session = onnxruntime.InferenceSession(os.fspath(file), providers=["CPUExecutionProvider"])
            stored = self._session.get_modelmeta().custom_metadata_map
            self.info: dict[str, Any] = {key: json.loads(value) for key, value in stored.items()}
            self.class_names: list[str] = self.info["class_names"]
            self.palette: list[tuple[int, int, int]] = [tuple(color) for color in self.info["palette"]]
            self._input, self._channels = self.info["input"], int(self.info["in_chans"])
        # onnxruntime has errors of its own for every kind of broken file.
        except Exception as error:
            reason = next(iter(str(error).splitlines()), "")[:200]
            raise ValueError(
                f"an exported network must be an ONNX file of gatezoo export; {file} is not: {reason}"
            ) from None

    def load(self, image: str | os.PathLike | Image.Image | np.ndarray) -> np.ndarray:
        """Return an image as uint8 (H, W, C), turned as its EXIF orientation says.

        Raises:
            ValueError: a file that is no image, or an array of another form.
        """
        if isinstance(image, (str, os.PathLike)):
            try:
                with Image.open(image) as opened:
                    return self.load(opened)
            except OSError as error:
                raise ValueError(f"an image must be a readable file; got {image}: {error}") from None
        if isinstance(image, Image.Image):
            if self._channels not in (1, 3):
                raise ValueError(f"an image of {self._channels} channels must be an array (H, W, {self._channels})")
            # Pillow would cut their values off at 255.
            if image.mode.startswith(("I", "F")):
                raise ValueError(f"an image must have 8 bits a channel; got Pillow's mode {image.mode}: convert it")
            image = np.array(ImageOps.exif_transpose(image).convert("L" if self._channels == 1 else "RGB"))
            image = image.reshape(*image.shape[:2], self._channels)
        if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or image.shape[2:] != (self._channels,):
            got = f"{image.dtype} {image.shape}" if isinstance(image, np.ndarray) else type(image).__name__
            raise ValueError(f"an image must be uint8 (H, W, {self._channels}); got {got}: convert it")
        return image

    def predict(self, image: str | os.PathLike | Image.Image | np.ndarray) -> np.ndarray:
        """Return the class of every pixel, (H, W) of uint8, of int32 for more than 256 classes.

        Raises:
            ValueError: what :meth:`load` refuses, or an image of a size that the network does not take.
        """
        pixels = self.load(image)
        self._check_size(*pixels.shape[:2])
        if not self.info["preprocessing"]:
            scaled = pixels.astype(np.float32) / 255
            mean, std = (np.array(self.info[key], np.float32) for key in ("mean", "std"))
            pixels = ((scaled - mean) / std).transpose(2, 0, 1)
        found = self._session.run(None, {self._input["name"]: np.ascontiguousarray(pixels[None])})[-1][0]
        if self.info["outputs"] == "classes":
            return found
        return found.argmax(0).astype(np.uint8 if len(self.class_names) <= 256 else np.int32)

    def _check_size(self, height: int, width: int) -> None:
        fixed, (low, high) = self._input["size"], self._input["sides"]
        if fixed and [height, width] != fixed:
            raise ValueError(
                f"images must be {fixed[0]} x {fixed[1]}, the size of this export; got {height} x {width}: resize "
                "them, or export with --dynamic"
            )
        if not (low <= height <= high and low <= width <= high):
            raise ValueError(f"sides of images must be in {low} .. {high}; got {height} x {width}: resize them")


def main(arguments: list[str]) -> None:
    """Predict an image, and write its classes as a palette image."""
    if len(arguments) != 2:
        raise SystemExit("usage: python predict.py IMAGE OUT.png")
    predictor = OnnxPredictor(Path(__file__).with_name("model.onnx"))
    classes = predictor.predict(arguments[0])
    drawn = Image.fromarray(classes)
    if drawn.mode == "L":
        drawn.putpalette([value for color in predictor.palette for value in color])
    drawn.save(arguments[1])
    shares = np.bincount(classes.ravel(), minlength=len(predictor.class_names)) / classes.size
    print(", ".join(f"{predictor.class_names[k]} {shares[k]:.1%}" for k in np.argsort(-shares)[:4] if shares[k]))


if __name__ == "__main__":
    main(sys.argv[1:])
