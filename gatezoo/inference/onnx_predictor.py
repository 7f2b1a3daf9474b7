"""Predict label maps with an exported network: needs numpy, Pillow and onnxruntime, or openvino, alone.

An exported folder holds a copy of this file: ``python predict.py IMAGE OUT.png``.
"""

from __future__ import annotations

import functools
import json
import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

Run = Callable[[np.ndarray], list[np.ndarray]]


class OnnxPredictor:
    """A network of an ONNX file that ``gatezoo export`` wrote; its metadata say how images are prepared.

    Args:
        file: the ONNX file.

    Attributes:
        class_names: name of each class.
        palette: color of each class, (red, green, blue).
        file: its path.
        info: all metadata of the file.

    Raises:
        ValueError: a file that is not readable, was not written by ``gatezoo export``, or has another task.
    """

    runtime, kind, task = "onnxruntime", "an ONNX file", "semantic"

    def __init__(self, file: str | os.PathLike):
        if not Path(file).is_file():
            raise ValueError(f"an exported network must be a file; there is none at {file}: run gatezoo export")
        self.file = Path(file)
        try:
            self._run, self.info = self._open(os.fspath(file))
            self.class_names: list[str] = self.info["class_names"]
            self.palette: list[tuple[int, int, int]] = [tuple(color) for color in self.info["palette"]]
            self._input, self._channels = self.info["input"], int(self.info["in_chans"])
        except ImportError:
            raise ValueError(f"{file} needs the package {self.runtime}: run pip install {self.runtime}") from None
        # The runtimes have errors of their own for every kind of broken file.
        except Exception as error:
            reason = next(iter(str(error).splitlines()), "")[:200]
            raise ValueError(
                f"an exported network must be {self.kind} of gatezoo export; {file} is not: {reason}"
            ) from None
        if (task := self.info["task"]) != self.task:
            other = {"semantic": "OnnxPredictor", "instance": "OnnxInstancePredictor"}[task]
            raise ValueError(
                f"an exported network must be for {self.task} segmentation; this one is for {task} segmentation: use "
                f"gatezoo.inference.{other}"
            )

    def _open(self, file: str) -> tuple[Run, dict[str, Any]]:
        """Return the function that runs a file, and its metadata."""
        import onnxruntime

        session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
        name, stored = session.get_inputs()[0].name, session.get_modelmeta().custom_metadata_map
        return lambda image: session.run(None, {name: image}), {key: json.loads(stored[key]) for key in stored}

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
        if not self.info["preprocessing"]:
            scaled = pixels.astype(np.float32) / 255
            mean, std = (np.array(self.info[key], np.float32) for key in ("mean", "std"))
            pixels = ((scaled - mean) / std).transpose(2, 0, 1)
        found = self.run(pixels[None])[0]
        if self.info["outputs"] == "classes":
            return found
        return found.argmax(0).astype(np.uint8 if len(self.class_names) <= 256 else np.int32)

    def run(self, image: np.ndarray) -> np.ndarray:
        """Return the last output of the file, a batch of one, for a batch of one as the file takes it.

        Raises:
            ValueError: an image of a size that the network does not take.
        """
        first = 1 if self._input["layout"] == "NHWC" else 2
        self._check_size(*image.shape[first : first + 2])
        return self._run(np.ascontiguousarray(image))[-1]

    def _check_size(self, height: int, width: int) -> None:
        fixed, (low, high) = self._input["size"], self._input["sides"]
        if fixed and [height, width] != fixed:
            raise ValueError(
                f"images must be {fixed[0]} x {fixed[1]}, the size of this export; got {height} x {width}: resize "
                "them, or export with --dynamic"
            )
        if not (low <= height <= high and low <= width <= high):
            raise ValueError(f"sides of images must be in {low} .. {high}; got {height} x {width}: resize them")


_CORE_LOCK = threading.Lock()


def openvino_core() -> Any:
    """Return the OpenVINO core of this process, which must have one alone.

    A core replaces the stack that signals of its thread are handled on, and puts that back which it found when it is
    deleted. If that was the stack of another core, deleted before, the next signal ends the process: SIGCHLD, for one,
    of which torch's loaders set a handler.
    """
    with _CORE_LOCK:
        return _core()


@functools.cache
def _core() -> Any:
    import openvino

    return openvino.Core()


class OpenVinoPredictor(OnnxPredictor):
    """A network of the files ``model.xml`` and ``model.bin`` that ``gatezoo export --format openvino`` wrote.

    Arguments, attributes and errors are those of :class:`OnnxPredictor`.
    """

    runtime, kind = "openvino", "an OpenVINO file"

    def _open(self, file: str) -> tuple[Run, dict[str, Any]]:
        core = openvino_core()
        model = core.read_model(file)
        # Some processors would compute in 16 bits.
        compiled = core.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
        stored = model.get_rt_info(["gatezoo"]).value
        # Each call has a request of its own, since several threads may call at once.
        return (
            lambda image: [np.array(one) for one in compiled.create_infer_request().infer([image]).values()],
            {key: json.loads(stored[key]) for key in stored},
        )


PREDICTORS = {".onnx": OnnxPredictor, ".xml": OpenVinoPredictor}


def is_exported(file: str | os.PathLike) -> bool:
    """Return whether the name of a file is that of an exported network."""
    return Path(file).suffix in PREDICTORS


def open_exported(file: str | os.PathLike) -> OnnxPredictor:
    """Return the predictor of a file, by its suffix; errors as of :class:`OnnxPredictor`."""
    return PREDICTORS[Path(file).suffix](file)


def main(arguments: list[str]) -> None:
    """Predict an image, and write its classes as a palette image."""
    if len(arguments) != 2:
        raise SystemExit("usage: python predict.py IMAGE OUT.png")
    files = [Path(__file__).with_name(f"model{suffix}") for suffix in PREDICTORS]
    file = next((file for file in files if file.is_file()), files[0])
    predictor = open_exported(file)
    classes = predictor.predict(arguments[0])
    drawn = Image.fromarray(classes)
    if drawn.mode == "L":
        drawn.putpalette([value for color in predictor.palette for value in color])
    drawn.save(arguments[1])
    shares = np.bincount(classes.ravel(), minlength=len(predictor.class_names)) / classes.size
    print(", ".join(f"{predictor.class_names[k]} {shares[k]:.1%}" for k in np.argsort(-shares)[:4] if shares[k]))


if __name__ == "__main__":
    main(sys.argv[1:])
