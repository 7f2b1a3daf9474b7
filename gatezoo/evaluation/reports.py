"""Format the result of an evaluation as lines of text, as a table, and as files."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

from ..metrics import DepthResult
from ..metrics.names import format_metric, metric_info
from ..registry import get_model_spec
from ..segmenters.base import BaseSegmenter
from ..utils.environment import versions
from ..utils.files import atomic_write, ensure_dir, write_json
from ..visualization.figures import confusion_figure, reliability_figure
from ..weights.integrity import sha256_of
from .result import Evaluation


def score_lines(scores: Mapping[str, Any], names: Sequence[str]) -> Iterator[str]:
    """Yield a line for each class and each metric: its name and its value.

    Args:
        scores: of an evaluation.
        names: of the classes of a semantic segmentation network.
    """
    width = 20 if "iou" in scores else 30
    for name, iou in zip(names, scores.get("iou", ())):
        yield f"{name:{width}} {format_metric('iou', iou, percent=False)}"
    for key, value in scores.items():
        if isinstance(value, Mapping) and key.endswith("_by_class"):
            title = metric_info(key.removesuffix("_by_class") + "_ap").title
            for name, ap in value.items():
                yield f"{f'{title} of {name}':{width}} {format_metric('mask_ap', ap, percent=False)}"
        elif key == "miou":
            yield f"{_line(key, value, width)}   ({scores['absent']} absent classes left out)"
        elif key != "absent":
            yield from (_line(*item, width) for item in _single_values({key: value}))


def iteration_table(evaluation: Evaluation) -> Table:
    """Make a table with a row for each pass, and one for the merged passes, and a column for each metric."""
    table = Table("pass", box=None, pad_edge=False)
    rows = {str(number): scores for number, scores in enumerate(evaluation.by_iteration, start=1)}
    if merge := evaluation.protocol.get("merge"):
        rows[f"{merge} of {len(rows)}"] = evaluation.scores
    for key, _ in _single_values(evaluation.scores):
        table.add_column(metric_info(key).title, justify="right")
    for title, scores in rows.items():
        table.add_row(title, *(format_metric(key, value, percent=False) for key, value in _single_values(scores)))
    return table


def _single_values(scores: Mapping[str, Any]) -> Iterator[tuple[str, float | None]]:
    """Yield the names and values of all metrics but lists and counts."""
    for key, value in scores.items():
        if isinstance(value, DepthResult):
            yield from _single_values(value.to_dict())
        elif (value is None or isinstance(value, float)) and metric_info(key).unit != "count":
            yield key, value


def _line(key: str, value: float | None, width: int) -> str:
    return f"{metric_info(key).title:{width}} {format_metric(key, value, percent=False)}"


def make_report(
    evaluation: Evaluation,
    model: BaseSegmenter,
    data_info: dict[str, Any],
    comparison: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return the content of scores.json: everything but the metrics of single images.

    Args:
        evaluation: result.
        model: that was evaluated.
        data_info: description of the data, such as folder, data set and split.
        comparison: with the scores of a paper, as "experiment"; None for none.
    """
    report = {**_report_header(model, data_info, evaluation.protocol), "scores": evaluation.scores.to_dict()}
    if evaluation.by_iteration:
        report["by_iteration"] = [scores.to_dict() for scores in evaluation.by_iteration]
    if comparison is not None:
        report["experiment"] = dict(comparison)
    if evaluation.confusion_matrix is not None:
        report["confusion_matrix"] = evaluation.confusion_matrix.tolist()
    return report


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


def write_report(
    evaluation: Evaluation,
    model: BaseSegmenter,
    out: Path,
    data_info: dict[str, Any],
    comparison: Mapping[str, Any] | None = None,
) -> list[Path]:
    """Write a report into a folder, each file atomically, and return the files.

    They are scores.json, for semantic segmentation also images.csv and confusion.png, and with calibration
    reliability.png.

    Args:
        evaluation: result.
        model: that was evaluated.
        out: folder; made if it does not exist.
        data_info: description of the data, such as folder, data set and split.
        comparison: see :func:`make_report`.

    Raises:
        ValueError: the folder cannot be written, or matplotlib is not installed.
    """
    ensure_dir(out)
    names = model.class_names
    # Figures first: nothing is written if they cannot be drawn.
    writers: dict[str, Callable[[Path], Any]] = {}
    if evaluation.confusion_matrix is not None:
        writers["images.csv"] = partial(_write_images, evaluation, names)
        writers["confusion.png"] = confusion_figure(evaluation.confusion_matrix.numpy(), names).save
    if bins := evaluation.scores.get("calibration"):
        confidence, accuracy, count = (np.array(bins[key]) for key in ("confidence", "accuracy", "count"))
        writers["reliability.png"] = reliability_figure(confidence, accuracy, count, evaluation.scores.ece).save
    write_json(out / "scores.json", make_report(evaluation, model, data_info, comparison), allow_nan=False)
    for name, write in writers.items():
        atomic_write(out / name, write)
    return [out / name for name in ("scores.json", *writers)]


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
