"""Write predictions to files."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image

from ..segmenters.base import SemanticSegmenter
from ..segmenters.instance import Instances, InstanceSegmenter
from ..utils.files import atomic_write, ensure_dir, write_json
from ..utils.images import load_image
from ..utils.optional import require_package
from ..visualization.depth import depth_image, plot_loops
from ..visualization.figures import draw_instances, index_image, iterations_figure
from ..visualization.overlay import overlay
from .inputs import error_context
from .instance import SCORE_THRESHOLD, InstancePredictor
from .modes import InferenceMode, WholeImage
from .passes import TOLERANCE
from .predictor import Predictor


@dataclass(frozen=True)
class PredictionFiles:
    """The files that were written for one image.

    Attributes:
        image: that was predicted.
        files: that were written for it.
        summary: the most frequent classes or instances, for a line of text.
        shares: share of each class, largest first; empty for instance segmentation.
        counts: number of instances of each class; empty for semantic segmentation.
        iterations: number of them with iterations="auto"; otherwise None.
    """

    image: Path
    files: list[Path]
    summary: str
    shares: dict[str, float] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    iterations: int | None = None


def check_unique_stems(images: Sequence[str | os.PathLike]) -> list[Path]:
    """Return the paths of images whose results do not overwrite each other.

    Raises:
        ValueError: two images have the same name without suffix.
    """
    paths = [Path(path) for path in images]
    first_of_stem: dict[str, Path] = {}
    for path in paths:
        if path.stem in first_of_stem:
            raise ValueError(
                f"images must differ in their names without suffix; got {first_of_stem[path.stem]} and {path}"
            )
        first_of_stem[path.stem] = path
    return paths


def predict_files(
    model: SemanticSegmenter,
    images: Sequence[str | os.PathLike],
    out: str | os.PathLike,
    iterations: int | Literal["auto"] | None = None,
    device: str | None = None,
    show_iterations: bool = False,
    mode: InferenceMode | None = None,
    tolerance: float = TOLERANCE,
    depth: bool = False,
    blur: float = 0.0,
) -> Iterator[PredictionFiles]:
    """Segment image files into a folder: for each STEM an index PNG, an overlay and the share of each class.

    Writes ``STEM.png`` (class indices with a palette), ``STEM_overlay.jpg`` and ``STEM.json``. With
    ``show_iterations`` also ``STEM_iterations.png``; with ``depth`` also ``STEM_depth.png``, millimetres in 16 bits,
    and ``STEM_loops.png``: classes, depth and chosen scale of every iteration, and what it changed. Each file is
    written atomically.

    Args:
        model, iterations, device, mode, tolerance, depth, blur: see :func:`gatezoo.predict`.
        images: files.
        out: folder; made if it does not exist.
        show_iterations: also draw the label map of every iteration; requires whole images.

    Yields:
        The files of each image, as soon as they are written.

    Raises:
        ValueError: an image cannot be read, two images have the same stem, the folder cannot be written, or
            ``show_iterations`` is combined with a mode.
    """
    if show_iterations and mode not in (None, WholeImage()):
        raise ValueError(f"show_iterations requires whole images; got {mode}: leave out the mode or show_iterations")
    predictor = Predictor(model, device, mode=mode, iterations=iterations, tolerance=tolerance, blur=blur)
    paths = check_unique_stems(images)
    out = Path(out)
    ensure_dir(out)
    names, palette = model.class_names, model.palette
    for path in paths:
        image = load_image(path)
        with error_context(path):
            prediction = predictor.predict(image, all_passes=show_iterations or depth, depth=depth)
            predictions = prediction.passes
            maps = [one.classes for one in predictions or [prediction]]
        classes = maps[-1]
        drawings: dict[str, Image.Image] = {
            f"{path.stem}.png": index_image(classes, palette),
            f"{path.stem}_overlay.jpg": overlay(image, classes, palette),
        }
        if show_iterations:
            drawings[f"{path.stem}_iterations.png"] = iterations_figure(image, maps, names, palette)
        if depth:
            drawings[f"{path.stem}_depth.png"] = depth_image(predictions[-1].depth)
            drawings[f"{path.stem}_loops.png"] = plot_loops(image, predictions, names, palette)
        for name, drawing in drawings.items():
            atomic_write(out / name, drawing.save)
        shares = _class_shares(classes, names)
        taken = prediction.iterations if iterations == "auto" else None
        content = {"image": str(path), "shares": shares} | ({"iterations": taken} if taken else {})
        write_json(out / f"{path.stem}.json", content)
        files = [out / name for name in (*drawings, f"{path.stem}.json")]
        summary = ", ".join(f"{name} {share:.1%}" for name, share in list(shares.items())[:4])
        summary += f" after {taken} iterations" if taken else ""
        yield PredictionFiles(path, files, summary, shares=shares, iterations=taken)


def _class_shares(classes: np.ndarray, names: list[str]) -> dict[str, float]:
    """Return the share of each class that occurs in a label map, largest first."""
    shares = np.bincount(classes.ravel(), minlength=len(names)) / classes.size
    return {names[k]: round(float(shares[k]), 6) for k in np.argsort(-shares) if shares[k]}


def predict_instance_files(
    model: InstanceSegmenter,
    images: Sequence[str | os.PathLike],
    out: str | os.PathLike,
    device: str | None = None,
    score_threshold: float | None = None,
    max_detections: int | None = None,
) -> Iterator[PredictionFiles]:
    """Predict the instances of image files: for each STEM ``STEM_instances.jpg``, and ``instances.json`` for all.

    The drawing shows each mask in its own color, with box, name and score. The JSON file has COCO's format (images,
    categories, annotations with run lengths), each annotation with its "score"; it is written after the last image.

    Args:
        model, device, score_threshold, max_detections: see :func:`gatezoo.predict_instances`.
        images: files.
        out: folder; made if it does not exist.

    Yields:
        The files of each image, as soon as its drawing is written.

    Raises:
        ValueError: an image cannot be read, two images have the same stem, or the folder cannot be written.
    """
    model.require_task("instance", "use predict_files")
    require_package("pycocotools", "instances in COCO's format")
    paths, out = check_unique_stems(images), Path(out)
    ensure_dir(out)
    threshold = SCORE_THRESHOLD if score_threshold is None else score_threshold
    predictor = InstancePredictor(model, device, score_threshold=threshold, max_detections=max_detections)
    json_file = out / "instances.json"
    image_entries: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number, path in enumerate(paths, start=1):
        image = load_image(path)
        with error_context(path):
            found = predictor.predict(image)
        captions = [f"{name} {score:.2f}" for name, score in zip(found["names"], found["scores"])]
        drawing = draw_instances(image, found["masks"].windows(), found["boxes"].tolist(), captions)
        drawing_file = out / f"{path.stem}_instances.jpg"
        atomic_write(drawing_file, drawing.save)
        height, width = image.shape[-2:]
        image_entries.append({"id": number, "file_name": path.name, "height": height, "width": width})
        annotations += coco_annotations(found, number, len(annotations) + 1)
        counts: dict[str, int] = dict(Counter(found["names"]).most_common())
        summary = ", ".join(f"{count} {name}" for name, count in list(counts.items())[:4]) or "nothing found"
        yield PredictionFiles(path, [drawing_file, json_file], summary, counts=counts)
    categories = [{"id": label, "name": name} for label, name in enumerate(model.class_names) if label]
    content = {"images": image_entries, "categories": categories, "annotations": annotations}
    write_json(json_file, content, indent=None)


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
        mask[y : y + window.shape[0], x : x + window.shape[1]] = window.numpy()
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
