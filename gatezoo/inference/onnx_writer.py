"""Write the predictions of an exported network to files, without torch."""

from __future__ import annotations

from pathlib import Path

from ..visualization.overlay import overlay
from ..visualization.pixels import index_image
from .onnx_predictor import OnnxPredictor
from .writers import PredictionWriter, Results, class_shares, shares_summary


class OnnxWriter(PredictionWriter):
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

    def predict(self, number: int, image: Path) -> Results:
        names, palette = self.predictor.class_names, self.predictor.palette
        try:
            pixels = self.predictor.load(image)
            classes = self.predictor.predict(pixels)
        except ValueError as error:
            raise ValueError(str(error) if str(image) in str(error) else f"{image}: {error}") from None
        drawn = overlay(pixels.transpose(2, 0, 1), classes, palette, names)
        shares = class_shares(classes, names)
        files = {".png": index_image(classes, palette).save, "_overlay.jpg": drawn.save}
        return Results(shares_summary(shares), {"shares": shares}, files)
