"""Write the predictions of an exported network to files, without torch."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..visualization.overlay import overlay
from ..visualization.pixels import index_image
from .image_files import error_context
from .onnx_predictor import OnnxPredictor
from .writers import PredictionWriter, Results, class_shares, shares_summary


class OnnxWriter(PredictionWriter[tuple[np.ndarray, np.ndarray]]):
    """Predictions of an ONNX file: ``STEM.png``, ``STEM_overlay.jpg`` and the "shares" of the record ``STEM.json``.

    They are those of :class:`~gatezoo.inference.SemanticWriter`.

    Args:
        predictor: of the file.
    """

    def __init__(self, predictor: OnnxPredictor):
        self.predictor = predictor

    @property
    def endings(self) -> list[str]:
        return [".png", "_overlay.jpg"]

    def read(self, image: Path) -> np.ndarray:
        with error_context(image):
            return self.predictor.load(image)

    def predict(self, number: int, image: Path, pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        with error_context(image):
            return pixels, self.predictor.predict(pixels)

    def results(self, number: int, image: Path, prediction: tuple[np.ndarray, np.ndarray]) -> Results:
        (pixels, classes), names, palette = prediction, self.predictor.class_names, self.predictor.palette
        drawn = overlay(pixels.transpose(2, 0, 1), classes, palette, names)
        shares = class_shares(classes, names)
        files = {".png": index_image(classes, palette).save, "_overlay.jpg": drawn.save}
        return Results(shares_summary(shares), {"shares": shares}, files)
