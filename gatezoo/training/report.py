"""Pictures of a training in its folder: curves, samples of the augmented data, predictions for held-out images."""

from __future__ import annotations

import contextlib
import csv
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn

from ..data.create import AnyDataset
from ..data.loader import EpochStream
from ..evaluation.samples import image_name
from ..inference.instance import InstancePredictor
from ..inference.predictor import Predictor
from ..metrics.names import metric_info
from ..segmenters.base import BaseSegmenter, SemanticSegmenter
from ..segmenters.instance import InstanceSegmenter
from ..utils.files import atomic_write
from ..utils.text import shorten
from ..visualization import training as figures
from ..visualization.figures import instance_legend
from ..visualization.layout import LegendEntry, Tile
from ..visualization.overlay import HIGHLIGHT_COLOR
from ..visualization.pixels import to_pil
from .messages import log_info
from .selection import flat_scores
from .trackers import log_picture

SHOWN = 8  # images of a picture


class RunReport:
    """Draw ``samples.png``, ``predictions.png`` and ``curves.png``, also to the trackers that show images.

    The main process calls it. It changes no random state, and a picture that cannot be drawn never ends a training: the
    log says why in one line.

    Args:
        folder: of the training.
        data: to train on.
        val_data: to evaluate on.
        trackers: of Accelerate.
    """

    def __init__(self, folder: Path, data: AnyDataset, val_data: AnyDataset, trackers: Sequence[Any] = ()):
        self.folder, self.trackers = folder, trackers
        self.data: Any = data  # its attributes depend on the task
        self.val_data: Any = val_data

    def draw_samples(self, stream: EpochStream, batch_size: int, step: int = 0) -> None:
        """Draw up to eight items of the first batch with their labels, unless the picture is there."""
        if (self.folder / "samples.png").exists():
            return
        with self._drawing("samples.png", step) as pictures:
            samples = [stream[k] for k in range(min(batch_size, SHOWN, len(stream)))]
            if "mask" in samples[0]:
                pictures.append(self._semantic_samples(samples))
            else:
                tiles = [_image_tile(sample, f"{k}: image") for k, sample in enumerate(samples, 1)]
                drawn = [figures.instances_tile(sample["image"], sample) for sample in samples]
                counts = [f"{len(sample['labels'])} instances" for sample in samples]
                rows = _in_pairs([[tile, one] for tile, one in zip(tiles, zip(counts, drawn))])
                labels = [label for sample in samples for label in sample["labels"].tolist()]
                pictures.append(figures.contact_sheet(rows, instance_legend(labels, self.data.classes)))

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

    def draw_evaluation(
        self, network: BaseSegmenter, objective: nn.Module, history: Sequence[dict[str, Any]], metrics: Sequence[str]
    ) -> None:
        """Draw the predictions for eight held-out images, evenly spread, and the curves so far.

        Args:
            network: that was evaluated; it is not changed.
            objective: the module that is trained, whose normalization the network of a semantic task needs.
            history: the evaluations.
            metrics: keys of the metrics, the one that selects the best checkpoint first.
        """
        step, count = history[-1]["step"], len(self.val_data)
        with self._drawing("predictions.png", step) as pictures:
            shown = min(SHOWN, count)
            indices = [k * count // shown for k in range(shown)]
            if isinstance(network, SemanticSegmenter):
                pictures.append(self._semantic_predictions(network, objective, indices))
            else:
                assert isinstance(network, InstanceSegmenter)
                pictures.append(self._instance_predictions(network, indices))
        with self._drawing("curves.png", step) as pictures:
            with (self.folder / "summary.csv").open(newline="") as file:
                rows = [
                    {key: float(row[key] or "nan") for key in ("step", "loss", "lr")} for row in csv.DictReader(file)
                ]
            titles = {key: metric_info(key).title for key in metrics if metric_info(key).unit == "share"}
            pictures.append(figures.curves_figure(rows, [flat_scores(row) for row in history], titles))

    def _semantic_predictions(
        self, network: SemanticSegmenter, objective: nn.Module, indices: Sequence[int]
    ) -> Image.Image:
        data, with_depth = self.val_data, network.predicts_depth
        assert isinstance(objective.normalize, nn.Module)
        predictor = Predictor(network, normalize=objective.normalize)
        samples = [data[k] for k in indices]
        found = [
            predictor.predict(_plain(sample["image"]), _depth(network, sample), depth=with_depth) for sample in samples
        ]
        depths = [depth for sample, one in zip(samples, found) for depth in (_array(sample, "depth"), one.depth)]
        low, high = figures.depth_range([depth for depth in depths if depth is not None])
        rows, maps = [], []
        for index, sample, one in zip(indices, samples, found):
            image, labels = sample["image"], sample["mask"].numpy()
            counted = labels != data.ignore_index
            correct = (labels == one.classes)[counted].mean() if counted.any() else float("nan")
            row: list[Tile] = [
                _image_tile(sample, image_name(data, index)),
                ("truth", figures.label_tile(image, labels, data.palette, data.ignore_index)),
                ("prediction", figures.label_tile(image, one.classes, data.palette, data.ignore_index)),
                (f"{correct:.1%} correct", figures.error_tile(image, labels, one.classes, data.ignore_index)),
            ]
            if with_depth:
                shown = ("true depth", _array(sample, "depth")), ("predicted depth", one.depth)
                row += [(title, figures.depth_tile(depth, low, high)) for title, depth in shown if depth is not None]
            rows.append(row)
            maps += [labels, one.classes]
        legend = figures.label_legend(maps, data.classes, data.palette, data.ignore_index)
        bars = [figures.depth_bar(low, high)] if with_depth else []
        return figures.contact_sheet(rows, [*legend, ("wrong", HIGHLIGHT_COLOR)], bars)

    def _instance_predictions(self, network: InstanceSegmenter, indices: Sequence[int]) -> Image.Image:
        data, predictor, rows, labels = self.val_data, InstancePredictor(network), [], []
        for index in indices:
            sample = data[index]
            found = predictor.instances_of(_plain(sample["image"]))
            dense = {**found, "masks": (found["masks"] >= 0.5)[:, 0]}
            single = sample.get("iscrowd", torch.zeros_like(sample["labels"])) == 0
            truth = {key: _plain(sample[key])[single] for key in ("boxes", "labels", "masks")}
            errors, hits = figures.instance_error_tile(sample["image"], truth, dense)
            rows.append(
                [
                    _image_tile(sample, image_name(data, index)),
                    (f"truth: {len(truth['labels'])}", figures.instances_tile(sample["image"], truth)),
                    (f"prediction: {len(found['labels'])}", figures.instances_tile(sample["image"], dense)),
                    (f"{hits} of {len(truth['labels'])} found", errors),
                ]
            )
            labels += truth["labels"].tolist()
        legend: list[LegendEntry] = [*instance_legend(labels, data.classes)]
        legend += [("found", figures.CORRECT_COLOR), ("missed", HIGHLIGHT_COLOR), ("false", figures.FALSE_COLOR)]
        return figures.contact_sheet(rows, legend)

    @contextlib.contextmanager
    def _drawing(self, name: str, step: int) -> Iterator[list[Image.Image]]:
        """Write the picture that is put into the list, or log in one line why there is none."""
        pictures: list[Image.Image] = []
        try:
            with torch.random.fork_rng(devices=[]):
                yield pictures
            atomic_write(self.folder / name, lambda path: pictures[0].save(path, "PNG"))
            log_picture(self.trackers, name.removesuffix(".png"), pictures[0], step)
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


def _depth(network: SemanticSegmenter, sample: Mapping[str, Any]) -> Any:
    return _array(sample, "depth") if network.takes_depth else None
