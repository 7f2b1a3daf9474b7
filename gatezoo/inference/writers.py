"""Write predictions to files."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ..segmenters.base import SemanticSegmenter
from ..segmenters.instance import Instances, InstanceSegmenter
from ..utils.files import atomic_write, ensure_dir
from ..utils.images import load_image
from ..utils.optional import require_package
from ..visualization.depth import depth_image, plot_loops
from ..visualization.figures import draw_instances, index_image, iterations_figure
from ..visualization.overlay import overlay
from .depth import check_depth, depth_passes
from .inputs import error_context
from .instance import predict_instances
from .modes import InferenceMode, WholeImage
from .passes import TOLERANCE
from .semantic import _class_maps


def check_unique_stems(images: Sequence[str | os.PathLike]) -> list[Path]:
    """Paths whose results will not overwrite each other. Raises ValueError if some would."""
    paths = [Path(p) for p in images]
    stems = [path.stem for path in paths]
    twins = [path for path in paths if stems.count(path.stem) > 1]
    if twins:
        raise ValueError(f"images must differ in their names without suffix; got {twins[0]} and {twins[1]}")
    return paths


@dataclass(frozen=True)
class Written:
    """The files that one image gave, the share of each class, largest first, and the passes it took ("auto")."""

    image: Path
    files: list[Path]
    shares: dict[str, float]
    passes: int | None = None

    @property
    def summary(self) -> str:
        """The largest classes, for a line of text."""
        largest = ", ".join(f"{name} {share:.1%}" for name, share in list(self.shares.items())[:4])
        return largest + (f" after {self.passes} passes" if self.passes else "")


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
) -> Iterator[Written]:
    """Segment image files into a folder: for each STEM an index PNG, an overlay and the share of each class.

    Writes ``STEM.png`` (class indices with a palette), ``STEM_overlay.jpg`` and ``STEM.json``, and with
    ``show_iterations`` also ``STEM_iterations.png``; with ``depth`` also ``STEM_depth.png``, millimetres in 16 bits,
    and ``STEM_loops.png``, classes, depth and chosen scale of every pass with what it changed. Each is written beside
    and then renamed: never half of one.

    Raises:
        ValueError: a image that cannot be read, two of one stem, a folder that cannot be written, or a mode for
            the passes that ``show_iterations`` draws.
    """
    if show_iterations and mode not in (None, WholeImage()):
        raise ValueError(f"passes are drawn of whole images; got {mode}: leave out the mode or show_iterations")
    model.require_task("semantic", "use predict_instance_files")
    if depth:
        check_depth(model, mode)
    paths = check_unique_stems(images)
    out = Path(out)
    ensure_dir(out)
    names, palette = model.class_names, model.palette
    for path in paths:
        image = load_image(path)
        with error_context(path):
            looks = depth_passes(model, image, iterations, device, tolerance, blur, mode) if depth else []
            way = None if show_iterations else mode or WholeImage()
            maps = [look.classes for look in looks] or _class_maps(model, image, iterations, device, way, tolerance)
        classes = maps[-1]
        counts = np.bincount(classes.ravel(), minlength=model.num_classes) / classes.size
        shares = {names[k]: round(float(counts[k]), 6) for k in np.argsort(-counts) if counts[k]}
        products = {
            f"{path.stem}.png": index_image(classes, palette),
            f"{path.stem}_overlay.jpg": overlay(image, classes, palette),
        }
        if show_iterations:
            products[f"{path.stem}_iterations.png"] = iterations_figure(image, maps, names, palette)
        if depth:
            products[f"{path.stem}_depth.png"] = depth_image(looks[-1].metres)
            products[f"{path.stem}_loops.png"] = plot_loops(image, looks, names, palette)
        for name, product in products.items():
            atomic_write(out / name, product.save)
        facts: dict[str, Any] = {"image": str(path), "shares": shares}
        if iterations == "auto":
            facts["iterations"] = len(maps)
        text = json.dumps(facts, indent=1, ensure_ascii=False)
        atomic_write(out / f"{path.stem}.json", lambda beside, text=text: beside.write_text(text, encoding="utf-8"))
        yield Written(path, [out / name for name in (*products, f"{path.stem}.json")], shares, facts.get("iterations"))


@dataclass(frozen=True)
class WrittenObjects:
    """The files that one image gave, and how many objects of each name are in it."""

    image: Path
    files: list[Path]
    counts: dict[str, int]

    @property
    def summary(self) -> str:
        """The most frequent names, for a line of text."""
        largest = sorted(self.counts.items(), key=lambda item: -item[1])[:4]
        return ", ".join(f"{count} {name}" for name, count in largest) or "nothing found"


def predict_instance_files(
    model: InstanceSegmenter,
    images: Sequence[str | os.PathLike],
    out: str | os.PathLike,
    device: str | None = None,
    score_threshold: float | None = None,
    max_detections: int | None = None,
) -> Iterator[WrittenObjects]:
    """Find the objects of image files: for each STEM ``STEM_objects.jpg``, and ``objects.json`` of all.

    The image has each mask in a colour of its own, with box, name and score. The JSON has COCO's format (images,
    categories, annotations with run lengths), each annotation with its "score"; it is written after the last image.

    Raises:
        ValueError: a image that cannot be read, two of one stem, or a folder that cannot be written.
    """
    model.require_task("instance", "use predict_files")
    require_package("pycocotools", "objects in COCO's format")
    paths, out = check_unique_stems(images), Path(out)
    ensure_dir(out)
    names = model.class_names
    categories = [{"id": label, "name": name} for label, name in enumerate(names) if label]
    told: dict[str, list] = {"images": [], "categories": categories, "annotations": []}
    for number, path in enumerate(paths, start=1):
        image = load_image(path)
        with error_context(path):
            found = predict_instances(model, image, device, score_threshold, max_detections)
        captions = [f"{name} {score:.2f}" for name, score in zip(found["names"], found["scores"])]
        figure = draw_instances(image, found["masks"].windows(), found["boxes"].tolist(), captions)
        file = out / f"{path.stem}_objects.jpg"
        atomic_write(file, figure.save)
        height, width = image.shape[-2:]
        told["images"].append({"id": number, "file_name": path.name, "height": height, "width": width})
        told["annotations"] += coco_annotations(found, number, len(told["annotations"]) + 1)
        yield WrittenObjects(path, [file, out / "objects.json"], dict(Counter(found["names"])))
    text = json.dumps(told)
    atomic_write(out / "objects.json", lambda beside: beside.write_text(text + "\n", encoding="utf-8"))


def coco_annotations(found: Instances, image_id: int, first_id: int = 1) -> list[dict[str, Any]]:
    """Objects of a image as COCO has them, with their scores; masks as run lengths, drawn one at a time."""
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
