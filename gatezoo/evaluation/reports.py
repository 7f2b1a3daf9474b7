"""What an evaluation found, as lines to print and as files: scores.json, images.csv, confusion.png."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..metrics import SegmentationResult
from ..registry import get_model_spec
from ..segmenters.base import BaseSegmenter
from ..utils.environment import versions
from ..utils.files import atomic_write, ensure_dir
from ..visualization.figures import confusion_figure
from ..weights.integrity import sha256_of
from .semantic import Evaluation


def lines_of(scores: SegmentationResult, names: list[str]) -> Iterator[str]:
    """A line for each class and each figure: its name and its value."""
    for name, iou in zip(names, scores.iou):
        yield f"{name:18} {iou:.4f}" if iou == iou else f"{name:18} absent"
    yield f"{'mIoU':18} {scores.miou:.4f}   ({scores.absent} absent classes left out)"
    figures = {
        "pixel accuracy": scores.pixel_accuracy,
        "mean accuracy": scores.mean_accuracy,
        "weighted IoU": scores.weighted_iou,
        "boundary F-score": scores.boundary_f,
        "instance IoU": scores.iiou,
    }
    if scores.depth:
        within = {"1.25": scores.depth.delta1, "1.25^2": scores.depth.delta2, "1.25^3": scores.depth.delta3}
        figures |= {f"depth within {bound}": share for bound, share in within.items()}
        figures |= {"depth abs rel": scores.depth.abs_rel, "depth RMSE (m)": scores.depth.rmse}
    for name, figure in figures.items():
        if figure is not None:
            yield f"{name:18} {figure:.4f}"


def instance_lines(figures: dict[str, Any]) -> Iterator[str]:
    """A line for each class and each figure of :func:`gatezoo.evaluate_instances`."""
    for key, value in figures.items():
        if isinstance(value, dict):
            for name, own in value.items():
                yield f"{key.removesuffix('_by_class') + ' AP of ' + name:30} {_number(own)}"
        else:
            title = key.replace("_", " ").replace(" ap", " AP").replace(" ar", " AR")
            yield f"{title:30} {_number(value)}"


def _number(value: float | None) -> str:
    return "absent" if value is None else f"{value:.4f}"


def write_instance_report(figures: dict[str, Any], model: BaseSegmenter, out: Path, data: dict[str, Any]) -> Path:
    """Write scores.json into a folder; returns the file. Raises ValueError for a folder that cannot be written."""
    ensure_dir(out)
    protocol = {"mode": "whole images, COCO's evaluator", "precision": "float32"}
    protocol |= {"score_threshold": model.score_threshold, "max_detections": model.max_detections}
    report = {**_header_of(model, data, protocol), "scores": figures}
    text = json.dumps(report, indent=1, ensure_ascii=False, allow_nan=False)
    atomic_write(out / "scores.json", lambda path: path.write_text(text + "\n", encoding="utf-8"))
    return out / "scores.json"


def report_of(evaluation: Evaluation, model: BaseSegmenter, data: dict[str, Any]) -> dict[str, Any]:
    """Everything but the single images, ready for JSON.

    Args:
        data: facts about the data, as whoever opened them knows them.
    """
    return {
        **_header_of(model, data, evaluation.protocol),
        "scores": evaluation.scores.to_dict(),
        "confusion_matrix": evaluation.matrix.tolist(),
    }


def _header_of(model: BaseSegmenter, data: dict[str, Any], protocol: dict[str, Any]) -> dict[str, Any]:
    """What was evaluated, on what, and how."""
    cfg = model.pretrained_cfg
    variant = get_model_spec(model.architecture).architecture_kwargs(model.model_kwargs) if model.architecture else {}
    weights = None
    if cfg:
        path = Path(cfg.file)
        # A published file is known by its sum; that of a local one is not written down anywhere.
        digest = cfg.sha256 or (sha256_of(path) if path.is_file() else None)
        weights = {"name": cfg.name, "file": cfg.file, "sha256": digest}
        weights |= {"train_data": cfg.train_data, "license": cfg.license}
    return {
        "model": cfg.architecture if cfg else type(model).__name__,
        "weights": weights,
        "data": data,
        "protocol": variant | protocol,
        "classes": model.class_names,
        "versions": versions("torchmetrics"),
    }


def write_report(evaluation: Evaluation, model: BaseSegmenter, out: Path, data: dict[str, Any]) -> list[Path]:
    """Write scores.json, images.csv and confusion.png into a folder, each as a whole; returns the files.

    Raises:
        ValueError: a folder that cannot be written.
    """
    ensure_dir(out)
    names = model.class_names
    text = json.dumps(report_of(evaluation, model, data), indent=1, ensure_ascii=False, allow_nan=False)
    figure = confusion_figure(evaluation.matrix.numpy(), names)
    files = [out / "scores.json", out / "images.csv", out / "confusion.png"]
    atomic_write(files[0], lambda path: path.write_text(text + "\n", encoding="utf-8"))
    atomic_write(files[1], lambda path: _write_images(evaluation, names, path))
    atomic_write(files[2], figure.save)
    return files


def _write_images(evaluation: Evaluation, names: list[str], path: Path) -> None:
    shares = [f"{kind} {name}" for name in names for kind in ("labelled", "predicted")]
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["image", "height", "width", "miou", "pixel_accuracy", *shares])
        for image in evaluation.images:
            pairs = zip(image.labelled, image.predicted)
            figures = [image.miou, image.pixel_accuracy, *(share for pair in pairs for share in pair)]
            # What is not a number, since nothing in the image counts, is an empty cell.
            cells = [f"{figure:.6f}" if figure == figure else "" for figure in figures]
            writer.writerow([image.name, image.height, image.width, *cells])
