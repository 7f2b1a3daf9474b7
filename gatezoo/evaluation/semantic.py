"""Evaluation of a network on labelled images, each at its own size."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from rich.console import Console
from rich.progress import track
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from ..inference.modes import InferenceMode, WholeImage
from ..inference.passes import classes_and_metres, classes_of_passes, with_iterations
from ..metrics import (
    BoundaryMetric,
    DepthMetric,
    InstanceWeightedMetric,
    SegmentationMetric,
    SegmentationResult,
    scores_from_confusion,
)
from ..segmenters.base import SemanticSegmenter
from ..utils.distributed import gather_interleaved, get_rank_and_world_size


@dataclass(frozen=True)
class ImageResult:
    """Figures of one image, over its labelled pixels.

    Attributes:
        name: of its file; "image N" where the data set knows no files.
        height, width: in pixels.
        miou: over the classes in its labels or its prediction.
        pixel_accuracy: share of labelled pixels that are right.
        labelled, predicted: share of each class in the labels and in the prediction.
    """

    name: str
    height: int
    width: int
    miou: float
    pixel_accuracy: float
    labelled: list[float]
    predicted: list[float]


@dataclass(frozen=True)
class Evaluation:
    """Everything that one evaluation found.

    Attributes:
        scores: figures of the whole data set.
        matrix: confusion matrix n[label, prediction], (K, K) of int64.
        images: figures of each image, in the order of the data set.
        protocol: how it was done: mode, iterations, number of images, precision.
    """

    scores: SegmentationResult
    matrix: Tensor
    images: list[ImageResult]
    protocol: dict[str, Any]


def evaluate(
    model: SemanticSegmenter,
    data: Dataset,
    normalize: nn.Module | None = None,
    iterations: int | None = None,
    device: str = "cpu",
    mode: InferenceMode | None = None,
    boundary: float | None = None,
    workers: int = 0,
    blur: float = 0.0,
) -> SegmentationResult:
    """Scores at each image's own size, one image at a time, in float32.

    Where several processes work together (torch.distributed), each takes its share of the images, every image
    counts once, and all return the same scores: every process must call it.

    Args:
        data: samples ``{"image": uint8 (C, H, W), "mask": integers (H, W)}``, with the attributes ``num_classes`` and
            ``ignore_index``, and if known ``classes`` (names) and ``images`` (paths). If samples have ``instance``
            (ids (H, W), 0 for none) the instance-weighted IoU is computed too, with the mean sizes that an attribute
            ``instance_sizes`` {class number: pixels} tells.
        normalize: default: what the network's weights expect.
        iterations: passes of an unrolled network; default: its own.
        mode: see :mod:`gatezoo.inference`; default: whole images, single scale.
        boundary: tolerance of the boundary F-score as a share of the diagonal, usually .0075; default: no such score.
        workers: processes that decode images ahead; 0: none.
        blur: where samples have ``depth`` (metres (H, W), NaN for none) and the network predicts it from whole
            images, its figures are computed too, after a Gaussian blur of this standard deviation in pixels.

    Raises:
        ValueError: no images, other classes than the network's, no label that counts, or labels that do not fit
            (named by their image).
    """
    return evaluate_in_detail(model, data, normalize, iterations, device, mode, boundary, workers, blur=blur).scores


@torch.inference_mode()
def evaluate_in_detail(
    model: SemanticSegmenter,
    data: Dataset,
    normalize: nn.Module | None = None,
    iterations: int | None = None,
    device: str = "cpu",
    mode: InferenceMode | None = None,
    boundary: float | None = None,
    workers: int = 0,
    progress: bool = False,
    blur: float = 0.0,
) -> Evaluation:
    """As :func:`evaluate`, with the confusion matrix and the figures of every image.

    Args:
        progress: show a bar on stderr.
    """
    mode = mode or WholeImage()
    forward = with_iterations(model, iterations)
    first = _check(model, data, workers)
    classes, ignored = data.num_classes, data.ignore_index
    meter = SegmentationMetric(classes, ignored, device)
    contours = None if boundary is None else BoundaryMetric(classes, boundary, ignored, device)
    instances = None
    if "instance" in first:
        instances = InstanceWeightedMetric(classes, getattr(data, "instance_sizes", None), ignored, device)
    depths = DepthMetric(device) if "depth" in first and model.predicts_depth and mode == WholeImage() else None
    if model.takes_depth and mode != WholeImage():
        raise ValueError(f"a network gated by a given depth is evaluated on whole images; got {mode}: leave it out")

    def look(batch: Tensor, maps: Mapping[str, Tensor]) -> list[Tensor]:
        given = model.extra_inputs(maps)
        if depths:
            return classes_and_metres(model, batch, iterations, given, blur)
        return [mode.classes(partial(forward, **given), batch)]

    rows = []
    for name, sample, (drawn, *metres) in _predictions(model, data, normalize, device, workers, progress, look):
        labels = sample["mask"].to(device)
        with _naming(name):
            matrix = meter.update(drawn, labels)
            if depths:
                depths.update(*metres, sample["depth"].to(device))
        rows.append(_image(name, labels, matrix))
        if contours:
            contours.update(drawn, labels)
        if instances:
            instances.update(drawn, labels, sample["instance"].to(device))
    matrix = meter.matrix()
    if not matrix.any():
        raise ValueError(f"labels must hold a pixel that counts; all are {ignored} (ignored): look at the data")
    scores = scores_from_confusion(matrix)
    if contours:
        scores = replace(scores, **dict(zip(("boundary_f", "boundary_f_by_class"), contours.compute())))
    if instances:
        scores = replace(scores, **dict(zip(("iiou", "iiou_by_class"), instances.compute())))
    if depths:
        scores = replace(scores, depth=depths.compute())
    protocol = {
        "mode": str(mode),
        "iterations": iterations or getattr(model, "iterations", None),
        "images": len(data),
        "precision": "float32",
    }
    if contours:
        protocol["boundary_tolerance"] = boundary
    if depths:
        protocol["depth_blur"] = blur
    return Evaluation(scores, matrix, gather_interleaved(rows), protocol)


@torch.inference_mode()
def evaluate_passes(
    model: SemanticSegmenter,
    data: Dataset,
    normalize: nn.Module | None = None,
    iterations: int | None = None,
    device: str = "cpu",
    workers: int = 0,
) -> list[SegmentationResult]:
    """As :func:`evaluate`, for every pass at the cost of the last: the scores after 1, 2, ... of them."""
    _check(model, data, workers)
    passes = iterations or getattr(model, "iterations", 1)
    meters = [SegmentationMetric(data.num_classes, data.ignore_index, device) for _ in range(passes)]

    def look(batch: Tensor, maps: Mapping[str, Tensor]) -> list[Tensor]:
        return classes_of_passes(model, batch, iterations, model.extra_inputs(maps))

    for name, sample, maps in _predictions(model, data, normalize, device, workers, False, look):
        with _naming(name):
            for meter, drawn in zip(meters, maps, strict=True):
                meter.update(drawn, sample["mask"].to(device))
    return [meter.compute() for meter in meters]


def _check(model: SemanticSegmenter, data: Dataset, workers: int) -> dict[str, Tensor]:
    """The first sample of data that fit the network and are as :func:`evaluate` wants them."""
    model.require_task("semantic", "use gatezoo.evaluate_instances")
    if len(data) == 0:
        raise ValueError("a data set to evaluate on must hold images; it holds none: look at its folder and split")
    if workers < 0:
        raise ValueError(f"workers must be 0 or a number of processes; got {workers}")
    if data.num_classes != model.num_classes:
        raise ValueError(
            f"the data must have the network's {model.num_classes} classes; got {data.num_classes}: "
            "fine-tune the network on them first, or choose other data"
        )
    first = data[0]
    if not (isinstance(first, dict) and {"image", "mask"} <= first.keys()):
        got = sorted(first) if isinstance(first, dict) else type(first).__name__
        raise ValueError(f"a sample must be a dict with image and mask; got {got}")
    return first


def check_class_names(model: SemanticSegmenter, data: Dataset) -> None:
    """Raise ValueError if a class of the data has another name than the network's weights give it.

    For weights as they come. A network that is being fine-tuned may carry the names of what it started from.
    """
    for number, (own, theirs) in enumerate(zip(model.class_names, getattr(data, "classes", None) or ())):
        # A number stands for a name that is not known.
        if not (own.isdecimal() or theirs.isdecimal() or own.lower() == theirs.lower()):
            raise ValueError(
                f"the data must have the network's classes; class {number} is {own!r} in the network and "
                f"{theirs!r} in the data: fine-tune the network on them first, or choose other data"
            )


class _RankShard(Dataset):
    """Of the images, those of this process: dealt out in turn, so that each is in one share alone.

    An item is (number of the image, its sample as plain tensors, which travel between processes as they are).
    """

    _KEYS = ("image", "mask", "instance", "depth")

    def __init__(self, data: Dataset):
        self.data = data
        rank, count = get_rank_and_world_size()
        self.numbers = range(rank, len(data), count)

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, index: int) -> tuple[int, dict[str, Tensor]]:
        number = self.numbers[index]
        sample = self.data[number]
        return number, {key: sample[key].as_subclass(Tensor) for key in self._KEYS if key in sample}


def _predictions(
    model: SemanticSegmenter,
    data: Dataset,
    normalize: nn.Module | None,
    device: str,
    workers: int,
    progress: bool,
    look: Callable[[Tensor, Mapping[str, Tensor]], list[Tensor]],
) -> Iterator[tuple[str, dict[str, Tensor], list[Tensor]]]:
    """(name, sample, maps (H, W)) of each image of this process; ``look`` makes them of batch and further maps."""
    normalize = (normalize or model.make_normalize()).to(device)
    model.to(device).eval()
    paths = getattr(data, "images", None)
    loader = DataLoader(
        _RankShard(data), batch_size=None, num_workers=workers, pin_memory=torch.device(device).type == "cuda"
    )
    samples = loader
    if progress and get_rank_and_world_size()[0] == 0:
        samples = track(loader, "evaluating", console=Console(stderr=True), transient=True)
    for number, sample in samples:
        name = paths[number].name if paths else f"image {number}"
        with _naming(name):
            batch = normalize(sample["image"][None].to(device)).contiguous(memory_format=torch.channels_last)
            further = {key: sample[key][None].to(device) for key in ("depth",) if key in sample}
            maps = look(batch, further)
        yield name, sample, [drawn[0] for drawn in maps]


@contextlib.contextmanager
def _naming(name: str) -> Iterator[None]:
    """Let the message about a image name it."""
    try:
        yield
    except ValueError as error:
        raise ValueError(str(error) if name in str(error) else f"{name}: {error}") from None


def _image(name: str, labels: Tensor, matrix: Tensor) -> ImageResult:
    scores, pixels = scores_from_confusion(matrix), matrix.sum().double()
    return ImageResult(
        name,
        *labels.shape,
        miou=scores.miou,
        pixel_accuracy=scores.pixel_accuracy,
        labelled=(matrix.sum(1) / pixels).tolist(),
        predicted=(matrix.sum(0) / pixels).tolist(),
    )
