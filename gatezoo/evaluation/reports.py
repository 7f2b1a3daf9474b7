"""Format the result of an evaluation as lines of text and as files: scores.json, images.csv, confusion.png."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..metrics import SegmentationResult
from ..metrics.names import format_metric, metric_info
from ..registry import get_model_spec
from ..segmenters.base import BaseSegmenter
from ..segmenters.instance import InstanceSegmenter
from ..utils.environment import versions
from ..utils.files import atomic_write, ensure_dir, write_json
from ..visualization.figures import confusion_figure
from ..weights.integrity import sha256_of
from .semantic import Evaluation


def score_lines(scores: SegmentationResult, names: list[str]) -> Iterator[str]:
    """Yield a line for each class and each metric: its name and its value."""
    for name, iou in zip(names, scores.iou):
        yield f"{name:20} {format_metric('iou', iou, percent=False)}"
    yield f"{_line('miou', scores.miou, 20)}   ({scores.absent} absent classes left out)"
    keys = ("pixel_accuracy", "mean_accuracy", "weighted_iou", "boundary_f", "iiou")
    values: dict[str, float | None] = {key: getattr(scores, key) for key in keys}
    if depth := scores.depth:
        values |= {key: getattr(depth, key) for key in ("delta1", "delta2", "delta3", "abs_rel", "rmse")}
    for key, value in values.items():
        if value is not None:
            yield _line(key, value, 20)


def instance_lines(scores: dict[str, Any]) -> Iterator[str]:
    """Yield a line for each class and each metric of :func:`gatezoo.evaluate_instances`."""
    for key, value in scores.items():
        if isinstance(value, dict):
            title = metric_info(key.removesuffix("_by_class") + "_ap").title
            for name, ap in value.items():
                yield f"{f'{title} of {name}':30} {format_metric('mask_ap', ap, percent=False)}"
        else:
            yield _line(key, value, 30)


def _line(key: str, value: float | None, width: int) -> str:
    return f"{metric_info(key).title:{width}} {format_metric(key, value, percent=False)}"


def write_instance_report(
    scores: dict[str, Any], model: InstanceSegmenter, out: Path, data_info: dict[str, Any]
) -> Path:
    """Write scores.json into a folder and return the file.

    Args:
        scores: of :func:`gatezoo.evaluate_instances`.
        model: that was evaluated.
        out: folder; made if it does not exist.
        data_info: description of the data, such as folder, data set and split.

    Raises:
        ValueError: the folder cannot be written.
    """
    ensure_dir(out)
    protocol: dict[str, Any] = {"mode": "whole images, COCO's evaluator", "precision": "float32"}
    protocol |= {"score_threshold": model.score_threshold, "max_detections": model.max_detections}
    report = {**_report_header(model, data_info, protocol), "scores": scores}
    write_json(out / "scores.json", report, allow_nan=False)
    return out / "scores.json"


def make_report(evaluation: Evaluation, model: BaseSegmenter, data_info: dict[str, Any]) -> dict[str, Any]:
    """Return the content of scores.json: everything but the metrics of single images.

    Args:
        evaluation: result.
        model: that was evaluated.
        data_info: description of the data, such as folder, data set and split.
    """
    return {
        **_report_header(model, data_info, evaluation.protocol),
        "scores": evaluation.scores.to_dict(),
        "confusion_matrix": evaluation.confusion_matrix.tolist(),
    }


def _report_header(model: BaseSegmenter, data_info: dict[str, Any], protocol: dict[str, Any]) -> dict[str, Any]:
    """Describe the model, its weights, the data and the protocol of an evaluation."""
    cfg = model.pretrained_cfg
    variant = get_model_spec(model.architecture).architecture_kwargs(model.model_kwargs) if model.architecture else {}
    weights = None
    if cfg:
        path = Path(cfg.file)
        # A published file is identified by its recorded checksum; a local file has none yet.
        digest = cfg.sha256 or (sha256_of(path) if path.is_file() else None)
        weights = {"name": cfg.name, "file": cfg.file, "sha256": digest}
        weights |= {"train_data": cfg.train_data, "license": cfg.license}
    return {
        "model": cfg.architecture if cfg else type(model).__name__,
        "weights": weights,
        "data": data_info,
        "protocol": variant | protocol,
        "classes": model.class_names,
        "versions": versions("torchmetrics"),
    }


def write_report(evaluation: Evaluation, model: BaseSegmenter, out: Path, data_info: dict[str, Any]) -> list[Path]:
    """Write scores.json, images.csv and confusion.png into a folder, each atomically, and return the files.

    Args:
        evaluation: result.
        model: that was evaluated.
        out: folder; made if it does not exist.
        data_info: description of the data, such as folder, data set and split.

    Raises:
        ValueError: the folder cannot be written, or matplotlib is not installed.
    """
    ensure_dir(out)
    names = model.class_names
    report = make_report(evaluation, model, data_info)
    figure = confusion_figure(evaluation.confusion_matrix.numpy(), names)
    files = [out / "scores.json", out / "images.csv", out / "confusion.png"]
    write_json(files[0], report, allow_nan=False)
    atomic_write(files[1], lambda path: _write_images(evaluation, names, path))
    atomic_write(files[2], figure.save)
    return files


def _write_images(evaluation: Evaluation, names: list[str], path: Path) -> None:
    shares = [f"{kind} {name}" for name in names for kind in ("labeled", "predicted")]
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["image", "height", "width", "miou", "pixel_accuracy", *shares])
        for image in evaluation.images:
            pairs = zip(image.labeled, image.predicted)
            values = [image.miou, image.pixel_accuracy, *(share for pair in pairs for share in pair)]
            # NaN, the value of an image in which no pixel counts, is an empty cell.
            cells = ["" if math.isnan(value) else f"{value:.6f}" for value in values]
            writer.writerow([image.name, image.height, image.width, *cells])
