"""Files of semantic segmentation: label maps, overlays, confidence, depth and figures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image
from torch import Tensor

from ..data.base import SegmentationDataset
from ..data.files.depth import depth_files, metres_file
from ..data.files.layout import match_files
from ..data.label_format import LabelFormat
from ..segmenters.base import SemanticSegmenter
from ..visualization.comparison import error_figure
from ..visualization.depth import depth_image, plot_loops
from ..visualization.figures import index_image, iterations_figure
from ..visualization.overlay import overlay
from ..visualization.pixels import confidence_image
from .image_files import error_context
from .inputs import to_depth_tensor
from .modes import require_whole_images
from .passes import check_depth_given, check_predicts_depth
from .prediction import Prediction
from .predictor import Predictor
from .writers import PredictionWriter, Results, class_shares, shares_summary


class SemanticWriter(PredictionWriter[Prediction]):
    """Write the label map of each image with its palette, an overlay, and the share of each class.

    The files of an image are ``STEM.png`` (class indices), ``STEM_overlay.jpg`` and the record ``STEM.json`` with the
    "shares", largest first, and with iterations="auto" the number of "iterations". Further files on request:

    * ``STEM_iterations.png``: the label map of each pass, and the pixels that it changed.
    * ``STEM_depth.png``, millimetres in 16 bits, and ``STEM_loops.png``: classes, depth and chosen scale of each pass.
    * ``STEM_confidence.png``: probability of the predicted class in 16 bits, 65535 for 1; and, of several passes,
      ``STEM_instability.png``, see :class:`Prediction`.
    * ``STEM_probabilities.npz``: "probabilities" (K, H, W) of float16, "class_names" (K,) and, of several passes,
      "instability" (H, W) of float16.
    * ``STEM_errors.png``: image, labels, prediction and a map of its errors.

    Args:
        predictor: of the network.
        show_iterations, depth, confidence, probabilities: files to write.
        labels: label file of the image, or folder of label files with the stems of the images, for the errors.
        depth_map: depth of the image, or folder of depths ``STEM.png``, ``STEM_depth.png`` (16 bits, millimetres) or
            ``STEM.npy`` (metres), for networks that take it (``gate="given"``).

    Raises:
        ValueError: files that the network, or the mode of the predictor, does not allow.
    """

    def __init__(
        self,
        predictor: Predictor,
        *,
        show_iterations: bool = False,
        depth: bool = False,
        confidence: bool = False,
        probabilities: bool = False,
        labels: Path | None = None,
        depth_map: Path | None = None,
    ):
        self.predictor, self.labels, self.depth_map = predictor, labels, depth_map
        self.show_iterations, self.depth = show_iterations, depth
        self.confidence, self.probabilities = confidence, probabilities
        self.names, self.palette = predictor.model.class_names, predictor.model.palette
        self._label_maps: SegmentationDataset | None = None
        self._depth_files: list[Path] = []
        if depth:
            check_predicts_depth(predictor.model)
        check_depth_given(predictor.model, depth_map is not None)
        for option, given in (("show_iterations", show_iterations), ("depth", depth)):
            if given:
                require_whole_images(predictor.mode, option)

    @property
    def endings(self) -> list[str]:
        chosen = {
            ".png": True,
            "_overlay.jpg": True,
            "_iterations.png": self.show_iterations,
            "_depth.png": self.depth,
            "_loops.png": self.depth,
            "_confidence.png": self.confidence,
            "_instability.png": self.confidence and "iterations" in self.predictor.model.capabilities,
            "_probabilities.npz": self.probabilities,
            "_errors.png": self.labels is not None,
        }
        return [ending for ending, is_chosen in chosen.items() if is_chosen]

    def prepare(self, images: Sequence[Path]) -> list[Path]:
        read: list[Path] = []
        if self.labels is not None:
            self._label_maps = label_maps(self.predictor.model, images, self.labels)
            read += self._label_maps.label_files
        if self.depth_map is not None:
            self._depth_files = depth_files(images, self.depth_map)
            read += self._depth_files
        return read

    def read(self, image: Path) -> Tensor:
        return self.predictor.read(image)

    def predict(self, number: int, image: Path, pixels: Tensor) -> Prediction:
        with error_context(image):
            depth_map = metres_file(self._depth_files[number]) if self._depth_files else None
            return self.predictor.predict_decoded(
                pixels,
                None if depth_map is None else to_depth_tensor(depth_map),
                all_passes=self.show_iterations or self.depth,
                probabilities=self.confidence or self.probabilities,
                depth=self.depth,
            )

    def results(self, number: int, image: Path, prediction: Prediction) -> Results:
        with error_context(image):
            drawings = self._drawings(number, prediction)
        files: dict[str, Callable[[Path], object]] = {ending: drawing.save for ending, drawing in drawings.items()}
        if self.probabilities:
            files["_probabilities.npz"] = partial(_save_probabilities, prediction=prediction, names=self.names)
        shares = class_shares(prediction.classes, self.names)
        summary = shares_summary(shares)
        record: dict[str, object] = {"shares": shares}
        if self.predictor.iterations == "auto":
            record["iterations"] = prediction.iterations
            summary += f" after {prediction.iterations} iterations"
        return Results(summary, record, files)

    def _drawings(self, number: int, prediction: Prediction) -> dict[str, Image.Image]:
        image, classes, names, palette = prediction.image, prediction.classes, self.names, self.palette
        drawings = {".png": index_image(classes, palette), "_overlay.jpg": overlay(image, classes, palette, names)}
        if self.show_iterations:
            maps = [one.classes for one in prediction.passes]
            drawings["_iterations.png"] = iterations_figure(image, maps, names, palette, prediction.instability)
        if self.depth:
            assert prediction.depth is not None
            drawings["_depth.png"] = depth_image(prediction.depth)
            drawings["_loops.png"] = plot_loops(image, prediction.passes, names, palette)
        if self.confidence:
            assert prediction.confidence is not None
            drawings["_confidence.png"] = confidence_image(prediction.confidence)
            if prediction.instability is not None:
                drawings["_instability.png"] = confidence_image(prediction.instability)
        if self._label_maps is not None:
            labels, ignore_index = self._label_maps.labels(number).numpy(), self._label_maps.ignore_index
            drawings["_errors.png"] = error_figure(image, labels, classes, names, palette, ignore_index)
        return drawings


def label_maps(model: SemanticSegmenter, images: Sequence[Path], source: Path) -> SegmentationDataset:
    """Open the labels of images, in the format of the data that a network was trained on.

    Args:
        model: the network.
        images: the image files.
        source: label file of the single image, or folder of label files with the stems of the images.

    Raises:
        ValueError: an image without labels.
    """
    cfg = model.pretrained_cfg
    label_format, ignore_index = (
        (LabelFormat.from_dict(cfg.label_format), cfg.ignore_index) if cfg else (LabelFormat(), 255)
    )
    return SegmentationDataset(
        images,
        match_files(images, source, [label_format.suffix], "labels (--labels)"),
        model.class_names,
        decode=label_format.decoder(),
        ids=label_format.class_ids(model.num_classes, ignore_index),
        ignore_index=ignore_index,
    )


def read_depth_map(model: SemanticSegmenter, image: Path, source: Path | None) -> np.ndarray | None:
    """Return the depth of an image in metres, (H, W) of float32; None for a network that takes none.

    Raises:
        ValueError: a network that takes depth without it, another network with it, or a file that is no depth.
    """
    check_depth_given(model, source is not None)
    return None if source is None else metres_file(depth_files([image], source)[0])


def _save_probabilities(path: Path, prediction: Prediction, names: Sequence[str]) -> None:
    assert prediction.probabilities is not None
    arrays = {"probabilities": prediction.probabilities.astype(np.float16), "class_names": np.array(names)}
    if prediction.instability is not None:
        arrays["instability"] = prediction.instability.astype(np.float16)
    np.savez_compressed(path, **arrays)  # type: ignore[arg-type]
