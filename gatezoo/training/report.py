"""Figures of a training in its folder: curves, samples of the augmented data, predictions for held-out images."""

from __future__ import annotations

import contextlib
import csv
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from ..data.create import AnyDataset
from ..data.loader import EpochStream
from ..evaluation.samples import image_name
from ..metrics.names import metric_info
from ..utils.files import atomic_write
from ..utils.text import shorten
from ..visualization import training as figures
from ..visualization.figures import instance_legend
from ..visualization.layout import LegendEntry, Tile
from ..visualization.overlay import HIGHLIGHT_COLOR
from ..visualization.pixels import to_pil
from .kept_predictions import COUNT, KeptPredictions
from .messages import log_info
from .selection import flat_scores
from .trackers import log_figure


class RunReport:
    """Draw ``samples.png``, ``predictions.png`` and ``curves.png``, also to the trackers that show images.

    The main process calls it. It changes no random state, and a figure that cannot be drawn never ends a training: the
    log says why in one line.

    Args:
        folder: of the training.
        data: to train on.
        val_data: to evaluate on.
        rates: name and learning rate of the groups of parameters; that of the first is logged.
        trackers: of Accelerate.

    Attributes:
        predictions: metric that keeps what an evaluation predicts, to be drawn.
    """

    def __init__(
        self,
        folder: Path,
        data: AnyDataset,
        val_data: AnyDataset,
        rates: Sequence[tuple[str, float]],
        trackers: Sequence[Any] = (),
    ):
        self.folder, self.rates, self.trackers = folder, rates, trackers
        self.data: Any = data  # its attributes depend on the task
        self.val_data: Any = val_data
        self.predictions = KeptPredictions(len(val_data))

    def draw_samples(self, stream: EpochStream, batch_size: int, step: int = 0) -> None:
        """Draw up to eight items of the first batch with their labels, unless the figure is there."""
        if os.path.exists(self.folder / "samples.png"):
            return
        with self._drawing("samples.png", step) as finished:
            samples = [stream[k] for k in range(min(batch_size, COUNT, len(stream)))]
            if "mask" in samples[0]:
                finished.append(self._semantic_samples(samples))
            else:
                tiles = [_image_tile(sample, f"{k}: image") for k, sample in enumerate(samples, 1)]
                drawn = [figures.instances_tile(sample["image"], sample) for sample in samples]
                counts = [f"{len(sample['labels'])} instances" for sample in samples]
                rows = _in_pairs([[tile, one] for tile, one in zip(tiles, zip(counts, drawn))])
                labels = [label for sample in samples for label in sample["labels"].tolist()]
                finished.append(figures.contact_sheet(rows, instance_legend(labels, self.data.classes)))

    def _semantic_samples(self, samples: Sequence[Mapping[str, Any]]) -> Image.Image:
        data, rows, bars = self.data, [], []
        maps = [sample["mask"].numpy() for sample in samples]
        low, high = figures.depth_range([sample["depth"].numpy() for sample in samples if "depth" in sample] or [])
        for number, (sample, labels) in enumerate(zip(samples, maps), start=1):
            drawn = figures.label_tile(sample["image"], labels, data.palette, data.ignore_index)
            row: list[Tile] = [_image_tile(sample, f"{number}: image"), ("labels", drawn)]
            if "depth" in sample:
                row.append(("depth", figures.depth_tile(sample["depth"].numpy(), low, high)))
                bars = [figures.depth_bar(low, high)]
            rows.append(row)
        legend = figures.label_legend(maps, data.classes, data.palette, data.ignore_index)
        return figures.contact_sheet(_in_pairs(rows), legend, bars)

    def draw_evaluation(self, history: Sequence[dict[str, Any]], metrics: Sequence[str]) -> None:
        """Draw the predictions that the last evaluation kept, and the curves so far.

        Args:
            history: the evaluations.
            metrics: keys of the metrics, the one that selects the best checkpoint first.
        """
        step, kept = history[-1]["step"], self.predictions.by_index
        with self._drawing("predictions.png", step) as finished:
            draw = self._instance_predictions if "masks" in next(iter(kept.values())) else self._semantic_predictions
            finished.append(draw(kept))
        with self._drawing("curves.png", step) as finished:
            with (self.folder / "summary.csv").open(newline="") as file:
                rows = [
                    {key: float(row[key] or "nan") for key in ("step", "loss", "lr")} for row in csv.DictReader(file)
                ]
            titles = {key: metric_info(key).title for key in metrics if metric_info(key).unit == "share"}
            finished.append(figures.curves_figure(rows, [flat_scores(row) for row in history], titles, self.rates))

    def _semantic_predictions(self, kept: Mapping[int, Mapping[str, Any]]) -> Image.Image:
        data, samples, found = self.val_data, [self.val_data[index] for index in kept], list(kept.values())
        with_depth = "depth" in found[0]
        depths = [depth for sample, one in zip(samples, found) for depth in (_array(sample, "depth"), one.get("depth"))]
        low, high = figures.depth_range([depth for depth in depths if depth is not None])
        rows, maps = [], []
        for index, sample, one in zip(kept, samples, found):
            image, labels, classes = sample["image"], sample["mask"].numpy(), one["classes"]
            counted = labels != data.ignore_index
            correct = (labels == classes)[counted].mean() if counted.any() else float("nan")
            row: list[Tile] = [
                _image_tile(sample, image_name(data, index)),
                ("truth", figures.label_tile(image, labels, data.palette, data.ignore_index)),
                ("prediction", figures.label_tile(image, classes, data.palette, data.ignore_index)),
                (f"{correct:.1%} correct", figures.error_tile(image, labels, classes, data.ignore_index)),
            ]
            if with_depth:
                shown = ("true depth", _array(sample, "depth")), ("predicted depth", one["depth"])
                row += [(title, figures.depth_tile(depth, low, high)) for title, depth in shown if depth is not None]
            rows.append(row)
            maps += [labels, classes]
        legend = figures.label_legend(maps, data.classes, data.palette, data.ignore_index)
        bars = [figures.depth_bar(low, high)] if with_depth else []
        return figures.contact_sheet(rows, [*legend, ("wrong", HIGHLIGHT_COLOR)], bars)

    def _instance_predictions(self, kept: Mapping[int, Mapping[str, Any]]) -> Image.Image:
        data, rows, labels = self.val_data, [], []
        for index, found in kept.items():
            sample = data[index]
            single = sample.get("iscrowd", torch.zeros_like(sample["labels"])) == 0
            truth = {key: _plain(sample[key])[single] for key in ("boxes", "labels", "masks")}
            errors, hits = figures.instance_error_tile(sample["image"], truth, found)
            rows.append(
                [
                    _image_tile(sample, image_name(data, index)),
                    (f"truth: {len(truth['labels'])}", figures.instances_tile(sample["image"], truth)),
                    (f"prediction: {len(found['labels'])}", figures.instances_tile(sample["image"], found)),
                    (f"{hits} of {len(truth['labels'])} found", errors),
                ]
            )
            labels += truth["labels"].tolist()
        legend: list[LegendEntry] = [*instance_legend(labels, data.classes)]
        legend += [("found", figures.CORRECT_COLOR), ("missed", HIGHLIGHT_COLOR), ("false", figures.FALSE_COLOR)]
        return figures.contact_sheet(rows, legend)

    @contextlib.contextmanager
    def _drawing(self, name: str, step: int) -> Iterator[list[Image.Image]]:
        """Write the figure that is put into the list, or log in one line why there is none."""
        finished: list[Image.Image] = []
        try:
            with torch.random.fork_rng(devices=[]):
                yield finished
            atomic_write(self.folder / name, lambda path: finished[0].save(path, "PNG"))
            log_figure(self.trackers, name.removesuffix(".png"), finished[0], step)
        except Exception as error:  # whatever it is, the training is worth more
            log_info(f"{name} was not drawn: {shorten(' '.join(str(error).split()) or type(error).__name__)}")


def _in_pairs(rows: Sequence[list[Tile]]) -> list[list[Tile]]:
    """Put two rows beside each other, for a sheet that is not much higher than wide."""
    if len(rows) == 1:
        return list(rows)
    empty: list[Tile] = [("", None)] * len(rows[0])
    padded = [*rows, empty] if len(rows) % 2 else rows
    return [first + second for first, second in zip(padded[::2], padded[1::2])]


def _image_tile(sample: Mapping[str, Any], caption: str) -> Tile:
    return caption if len(caption) <= 36 else f"{caption[:33]}...", to_pil(sample["image"])


def _plain(tensor: Tensor) -> Tensor:
    return tensor.as_subclass(Tensor)


def _array(sample: Mapping[str, Any], key: str) -> Any:
    return sample[key].numpy() if key in sample else None
