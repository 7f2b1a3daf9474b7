"""Files of instance segmentation: drawings, and instances in COCO's format."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..utils.optional import require_package
from ..visualization.figures import draw_instances
from .image_files import error_context
from .writers import PredictionWriter, Results

if TYPE_CHECKING:
    from torch import Tensor

    from ..segmenters.instance import Instances
    from .instance import InstancePredictor
    from .onnx_instances import OnnxInstancePredictor


class InstanceWriter(PredictionWriter["tuple[Tensor, Instances]"]):
    """Write the instances of each image: ``STEM_instances.jpg``, and ``instances.json`` for all images.

    The drawing shows each mask in a color of its class, with box, name and score. The record ``STEM.json`` of an image
    has the "counts" of the instances by class. ``instances.json`` has COCO's format (images, categories, annotations
    with run lengths), each annotation with its "score"; it is written after the last image.

    Args:
        predictor: of the network.

    Raises:
        ValueError: pycocotools is not installed.
    """

    endings = ["_instances.jpg"]
    shared_file = "instances.json"

    def __init__(self, predictor: InstancePredictor):
        require_package("pycocotools", "instances in COCO's format")
        self.predictor, self.class_names = predictor, predictor.model.class_names
        self._images: list[dict[str, Any]] = []
        self._annotations: list[dict[str, Any]] = []

    def read(self, image: Path) -> Tensor:
        return self.predictor.read(image)

    def predict(self, number: int, image: Path, pixels: Tensor) -> tuple[Tensor, Instances]:
        with error_context(image):
            return pixels, self.predictor.instances_of(pixels)

    def results(self, number: int, image: Path, prediction: tuple[Tensor, Instances]) -> Results:
        pixels, found = prediction
        captions = [f"{name} {score:.2f}" for name, score in zip(found["names"], found["scores"])]
        drawing = draw_instances(
            pixels,
            found["masks"].windows(),
            found["boxes"].tolist(),
            captions,
            labels=found["labels"].tolist(),
            names=self.class_names,
        )
        height, width = pixels.shape[-2:]
        self._images.append({"id": number + 1, "file_name": image.name, "height": height, "width": width})
        self._annotations += coco_annotations(found, number + 1, len(self._annotations) + 1)
        counts: dict[str, int] = dict(Counter(found["names"]).most_common())
        summary = ", ".join(f"{count} {name}" for name, count in list(counts.items())[:4]) or "nothing found"
        return Results(summary, {"counts": counts}, {"_instances.jpg": drawing.save})

    def shared_content(self) -> dict[str, Any]:
        names = enumerate(self.class_names)
        categories = [{"id": label, "name": name} for label, name in names if label]
        return {"images": self._images, "categories": categories, "annotations": self._annotations}


class OnnxInstanceWriter(InstanceWriter):
    """Write the instances that an exported network finds, without torch, as :class:`InstanceWriter` does.

    Args:
        predictor: of the file.
    """

    def __init__(self, predictor: OnnxInstancePredictor):
        require_package("pycocotools", "instances in COCO's format")
        self.exported, self.class_names = predictor, predictor.class_names
        self._images, self._annotations = [], []

    def read(self, image: Path) -> Any:
        with error_context(image):
            return self.exported.load(image).transpose(2, 0, 1)

    def predict(self, number: int, image: Path, pixels: Any) -> tuple[Any, Instances]:
        with error_context(image):
            return pixels, self.exported.predict(pixels.transpose(1, 2, 0))


def coco_annotations(found: Instances, image_id: int, first_id: int = 1) -> list[dict[str, Any]]:
    """Convert the instances of an image to COCO's format with their scores; masks are encoded one at a time.

    Args:
        found: result of :func:`gatezoo.predict_instances`.
        image_id: of the annotations.
        first_id: id of the first annotation; the others follow.
    """
    from pycocotools import mask as coco_mask

    annotations = []
    for index, (y, x, window) in enumerate(found["masks"].windows()):
        mask = np.zeros(found["masks"].size, np.uint8, order="F")
        mask[y : y + window.shape[0], x : x + window.shape[1]] = np.asarray(window)
        run_lengths = coco_mask.encode(mask)
        left, top, right, bottom = found["boxes"][index].tolist()
        annotations.append(
            {
                "id": first_id + index,
                "image_id": image_id,
                "category_id": int(found["labels"][index]),
                "bbox": [round(value, 2) for value in (left, top, right - left, bottom - top)],
                "area": float(coco_mask.area(run_lengths)),
                "iscrowd": 0,
                "score": round(float(found["scores"][index]), 5),
                "segmentation": {"size": list(run_lengths["size"]), "counts": run_lengths["counts"].decode()},
            }
        )
    return annotations
