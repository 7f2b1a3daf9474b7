"""The Segment tab without its widgets: classes, instances and depth of one image."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from torch import Tensor

from ..inference.instance import SCORE_THRESHOLD, InstancePredictor
from ..inference.modes import window_weights
from ..inference.prediction import Prediction
from ..inference.predictor import LARGE_IMAGE_MODE, MAX_WHOLE_PIXELS, Predictor
from ..inference.writers import class_shares
from ..segmenters.instance import Instances
from ..utils.palette import Palette
from ..visualization.depth import depth_image
from ..visualization.figures import draw_instances, instance_legend
from ..visualization.overlay import is_clear, overlay
from ..visualization.pixels import confidence_image, index_image, to_pil
from . import jobs, markup
from .image_file import ImageFile
from .models import Loaded


@dataclass(frozen=True)
class FoundInstances:
    """Instances of an image, from which those above a score are shown.

    Attributes:
        model: name of the network.
        file: the image.
        image: its pixels, (C, H, W), values in 0 .. 255.
        found: all instances, highest score first.
        class_names: of the network.
    """

    model: str
    file: ImageFile
    image: Tensor
    found: Instances
    class_names: list[str]

    def above(self, score: float) -> Instances:
        """Return the instances with at least this score."""
        count = int((self.found["scores"] >= score).sum())
        masks = type(self.found["masks"])(
            self.found["masks"].rois[:count], self.found["masks"].boxes[:count], self.found["masks"].size
        )
        return {**{key: value[:count] for key, value in self.found.items() if key != "masks"}, "masks": masks}


def segment(loaded: Loaded, file: ImageFile) -> tuple[str, FoundInstances | None]:
    """Predict an image, and return the HTML of the result, and instances if the network finds those.

    Raises:
        ValueError: no image of the network's kind; what :meth:`gatezoo.Predictor.predict` refuses.
    """
    predictor = loaded.predictor
    with file.as_file() as path:
        image = predictor.read(path)
    if isinstance(predictor, InstancePredictor):
        jobs.report(None, "looking for instances")
        found = FoundInstances(loaded.name, file, image, predictor.instances_of(image), predictor.model.class_names)
        return instances_view(found, SCORE_THRESHOLD), found
    prediction = predict_classes(loaded.semantic(), image)
    return classes_view(loaded, file, prediction), None


def predict_classes(predictor: Predictor, image: Tensor) -> Prediction:
    """Predict the classes of an image, with probabilities and depth if it is small enough to be predicted whole."""
    height, width = image.shape[-2:]
    if whole := height * width <= MAX_WHOLE_PIXELS:
        jobs.report(None, "predicting")
        return predictor.predict_decoded(image, probabilities=whole, depth=predictor.model.predicts_depth)
    window, overlap = LARGE_IMAGE_MODE.window, LARGE_IMAGE_MODE.overlap
    assert isinstance(window, int)
    windows = [len(window_weights(side, min(side, window), overlap)) for side in (height, width)]
    jobs.report(None, f"predicting {windows[0] * windows[1]} windows")
    return predictor.predict_decoded(image)


def classes_view(loaded: Loaded, file: ImageFile, prediction: Prediction) -> str:
    """Return the HTML of predicted classes: overlay, legend with shares, confidence, depth and downloads."""
    model = loaded.predictor.model
    names, palette, image, classes = model.class_names, model.palette, prediction.image, prediction.classes
    shares = class_shares(classes, names)
    clear = is_clear(names, palette)
    entries = [
        (name, None if clear and name == names[0] else palette[names.index(name)], f"{share:.1%}")
        for name, share in shares.items()
    ]
    figures = [markup.figure(overlay_layers(image, classes, palette, names), f"{file.name}, {loaded.name}")]
    files = {
        ".png": markup.png_bytes(index_image(classes, palette)),
        "_overlay.png": markup.png_bytes(overlay(image, classes, palette, names)),
    }
    if prediction.confidence is not None:
        figures.append(markup.map_figure(prediction.confidence, "confidence", high=1.0))
        files["_confidence.png"] = markup.png_bytes(confidence_image(prediction.confidence))
    if prediction.depth is not None:
        figures.append(markup.map_figure(prediction.depth, "depth in metres"))
        files["_depth.png"] = markup.png_bytes(depth_image(prediction.depth))
    parts = [markup.grid(figures), markup.legend(entries)]
    if prediction.confidence is None:
        parts.append(
            markup.note(
                f"Images above {MAX_WHOLE_PIXELS / 1e6:g} megapixels are predicted in windows, without confidence."
            )
        )
    return "".join([*parts, _downloads(loaded.name, file, image, files, {"shares": shares})])


def overlay_layers(image: Tensor, classes: np.ndarray, palette: Palette, names: Sequence[str]) -> str:
    """Return an image and, over it, the opaque colors of its classes, whose opacity the page's slider sets."""
    if is_clear(names, palette):  # black is what an overlay without names leaves clear
        palette = [(0, 0, 0), *palette[1:]]
    colors = overlay(image, classes, palette, alpha=1.0)
    return markup.layers(to_pil(image), colors, "the classes as colors over the image")


def instances_view(found: FoundInstances, score: float) -> str:
    """Return the HTML of the instances with at least a score: boxes and masks, their number, and downloads."""
    chosen, image = found.above(score), found.image
    labels = chosen["labels"].tolist()
    captions = [f"{name} {value:.2f}" for name, value in zip(chosen["names"], chosen["scores"])]

    def drawn(alpha: float) -> Image.Image:
        boxes = chosen["boxes"].tolist()
        return draw_instances(image, chosen["masks"].windows(), boxes, captions, alpha, labels=labels)

    entries = [(entry[0].rsplit(" ", 1), entry[1]) for entry in instance_legend(labels, found.class_names)]
    under, over = to_pil(image), drawn(1.0)
    files = {"_instances.png": markup.png_bytes(number_image(chosen)), "_overlay.png": markup.png_bytes(drawn(0.5))}
    record = {
        "score_threshold": score,
        "counts": dict(Counter(chosen["names"]).most_common()),
        "instances": [
            {
                "number": number,
                "name": name,
                "score": round(float(value), 5),
                "box": [round(x, 2) for x in box.tolist()],
            }
            for number, (name, value, box) in enumerate(
                zip(chosen["names"], chosen["scores"], chosen["boxes"]), start=1
            )
        ],
    }
    caption = f"{found.file.name}, {found.model}: {len(labels)} of {len(found.found['scores'])} instances"
    return "".join(
        [
            markup.grid([markup.figure(markup.layers(under.resize(over.size), over, caption), caption)]),
            markup.legend((name, color, count) for (name, count), color in entries),
            _downloads(found.model, found.file, image, files, record),
        ]
    )


def number_image(instances: Instances) -> Image.Image:
    """Return a 16-bit image of the number of the instance at each pixel, from 1; 0 for none.

    Where masks overlap, the instance of the higher score is there.
    """
    numbers = np.zeros(instances["masks"].size, np.uint16)
    for number, (top, left, mask) in enumerate(instances["masks"].windows(), start=1):
        window = numbers[top : top + mask.shape[0], left : left + mask.shape[1]]
        window[mask.numpy() & (window == 0)] = number
    return Image.fromarray(numbers)


def _downloads(
    model: str, file: ImageFile, image: Tensor, files: Mapping[str, bytes], record: Mapping[str, object]
) -> str:
    """Return links to the files of a result, named after its image, and to its record."""
    height, width = image.shape[-2:]
    facts = {"image": file.name, "width": width, "height": height, "model": model}
    named = {f"{Path(file.name).stem}{ending}": content for ending, content in files.items()}
    return markup.downloads({**named, f"{Path(file.name).stem}.json": markup.json_bytes({**facts, **record})})
