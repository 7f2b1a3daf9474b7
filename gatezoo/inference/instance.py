"""Pictures in, objects out: their boxes, names, scores and masks."""

from __future__ import annotations

import contextlib
import json
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..data.files.matlab import needs
from ..segmenters.instance import InstanceSegmenter, Objects
from ..utils.files import make_folder, write_whole
from ..utils.images import open_picture
from ..visualization.figures import classes_of, objects_picture
from .inputs import as_picture, naming, pictures_in
from .semantic import unlike_stems

# Below it an object is not drawn or written unless asked for.
THRESHOLD = 0.5


@torch.inference_mode()
def predict_instances(
    model: InstanceSegmenter,
    x: Any,
    device: str | torch.device | None = None,
    score_threshold: float | None = None,
    max_detections: int | None = None,
) -> Objects | list[Objects]:
    """The objects of a picture, highest score first, at the picture's own size.

    Args:
        model: a network of objects. It is put into evaluation mode.
        x: as of :func:`gatezoo.predict`: one picture of any kind, or a folder, a list or a batch.
        device: default: where the network is.
        score_threshold, max_detections: least score, and most objects of a picture; default: .5, and the network's.

    Returns:
        A dict on the CPU, or a list of them: boxes (N, 4) x1 y1 x2 y2, labels (N,), scores (N,), names (their
        classes) and masks, a :class:`gatezoo.segmenters.roi_masks.RoIMasks`: ``masks >= 0.5`` is (N, 1, H, W) of bool.

    Raises:
        ValueError: a network of another task, or what is no picture.
    """
    model.must_be("instance", "use gatezoo.predict")
    many = None
    if isinstance(x, (str, os.PathLike)) and Path(x).is_dir():
        many = pictures_in(x)
    elif isinstance(x, (list, tuple)) or (isinstance(x, Tensor) and x.ndim == 4):
        many = list(x)
    if many is not None:
        return [predict_instances(model, item, device, score_threshold, max_detections) for item in many]
    with naming(x), _limits(model, THRESHOLD if score_threshold is None else score_threshold, max_detections):
        image = as_picture(x, model.in_chans)
        device = torch.device(device) if device else next(model.parameters()).device
        (found,) = model.to(device).eval()([image.to(device) / 255])
    names = classes_of(model)[0]
    found = {key: value.cpu() for key, value in found.items()}
    return {**found, "names": [names[label] for label in found["labels"]]}


@contextlib.contextmanager
def _limits(model: InstanceSegmenter, threshold: float, most: int | None) -> Iterator[None]:
    """Other limits than the network's own, for a while."""
    own = model.score_threshold, model.max_detections
    try:
        model.score_threshold, model.max_detections = threshold, own[1] if most is None else most
        yield
    finally:
        model.score_threshold, model.max_detections = own


@dataclass(frozen=True)
class WrittenObjects:
    """The files that one picture gave, and how many objects of each name are in it."""

    picture: Path
    files: list[Path]
    counts: dict[str, int]

    @property
    def summary(self) -> str:
        """The most frequent names, for a line of text."""
        largest = sorted(self.counts.items(), key=lambda item: -item[1])[:4]
        return ", ".join(f"{count} {name}" for name, count in largest) or "nothing found"


def predict_instance_files(
    model: InstanceSegmenter,
    pictures: Sequence[str | os.PathLike],
    out: str | os.PathLike,
    device: str | None = None,
    score_threshold: float | None = None,
    max_detections: int | None = None,
) -> Iterator[WrittenObjects]:
    """Find the objects of picture files: for each STEM ``STEM_objects.jpg``, and ``objects.json`` of all.

    The picture has each mask in a colour of its own, with box, name and score. The JSON has COCO's format (images,
    categories, annotations with run lengths), each annotation with its "score"; it is written after the last picture.

    Raises:
        ValueError: a picture that cannot be read, two of one stem, or a folder that cannot be written.
    """
    model.must_be("instance", "use predict_files")
    needs("pycocotools", "objects in COCO's format")
    paths, out = unlike_stems(pictures), Path(out)
    make_folder(out)
    names = classes_of(model)[0]
    categories = [{"id": label, "name": name} for label, name in enumerate(names) if label]
    told: dict[str, list] = {"images": [], "categories": categories, "annotations": []}
    for number, path in enumerate(paths, start=1):
        picture = open_picture(path)
        with naming(path):
            found = predict_instances(model, picture, device, score_threshold, max_detections)
        captions = [f"{name} {score:.2f}" for name, score in zip(found["names"], found["scores"])]
        figure = objects_picture(picture, found["masks"].windows(), found["boxes"].tolist(), captions)
        file = out / f"{path.stem}_objects.jpg"
        write_whole(file, figure.save)
        height, width = picture.shape[-2:]
        told["images"].append({"id": number, "file_name": path.name, "height": height, "width": width})
        told["annotations"] += coco_annotations(found, number, len(told["annotations"]) + 1)
        yield WrittenObjects(path, [file, out / "objects.json"], dict(Counter(found["names"])))
    text = json.dumps(told)
    write_whole(out / "objects.json", lambda beside: beside.write_text(text + "\n", encoding="utf-8"))


def coco_annotations(found: Objects, image_id: int, first_id: int = 1) -> list[dict[str, Any]]:
    """Objects of a picture as COCO has them, with their scores; masks as run lengths, drawn one at a time."""
    from pycocotools import mask as drawing

    annotations = []
    for index, (upper, before, part) in enumerate(found["masks"].windows()):
        mask = np.zeros(found["masks"].size, np.uint8, order="F")
        mask[upper : upper + part.shape[0], before : before + part.shape[1]] = part.numpy()
        runs = drawing.encode(mask)
        left, top, right, bottom = found["boxes"][index].tolist()
        annotations.append(
            {
                "id": first_id + index,
                "image_id": image_id,
                "category_id": int(found["labels"][index]),
                "bbox": [round(value, 2) for value in (left, top, right - left, bottom - top)],
                "area": float(drawing.area(runs)),
                "iscrowd": 0,
                "score": round(float(found["scores"][index]), 5),
                "segmentation": {"size": list(runs["size"]), "counts": runs["counts"].decode()},
            }
        )
    return annotations
