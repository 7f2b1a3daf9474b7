"""Evaluate a semantic segmentation network on labeled images, each at its own size."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from ..inference.modes import InferenceMode, WholeImage
from ..inference.prediction import PassMaps
from ..inference.predictor import Predictor
from ..metrics import (
    BoundaryMetric,
    DepthMetric,
    InstanceWeightedMetric,
    SegmentationMetric,
    SegmentationResult,
    scores_from_confusion,
)
from ..segmenters.base import BaseSegmenter, SemanticSegmenter
from ..utils.distributed import gather_interleaved
from ..utils.progress import Progress
from .samples import LabeledData, SegmentationData, check_data, image_error_context, image_name, iterate_samples

_KEYS = ("image", "mask", "instance", "depth")


@dataclass(frozen=True)
class ImageResult:
    """Metrics of one image, over its labeled pixels.

    Attributes:
        name: of its file; "image N" if the data set has no files.
        height, width: in pixels.
        miou: over the classes in its labels or its prediction.
        pixel_accuracy: share of labeled pixels that are correct.
        labeled, predicted: share of each class in the labels and in the prediction.
    """

    name: str
    height: int
    width: int
    miou: float
    pixel_accuracy: float
    labeled: list[float]
    predicted: list[float]


@dataclass(frozen=True)
class Evaluation:
    """Complete result of one evaluation.

    Attributes:
        scores: metrics of the whole data set.
        confusion_matrix: n[label, prediction], (K, K) of int64.
        images: metrics of each image, in the order of the data set.
        protocol: mode, iterations, number of images and precision of the evaluation.
    """

    scores: SegmentationResult
    confusion_matrix: Tensor
    images: list[ImageResult]
    protocol: dict[str, Any]


def evaluate(
    model: SemanticSegmenter,
    data: SegmentationData,
    normalize: nn.Module | None = None,
    iterations: int | None = None,
    device: str = "cpu",
    mode: InferenceMode | None = None,
    boundary: float | None = None,
    workers: int = 0,
    blur: float = 0.0,
) -> SegmentationResult:
    """Compute scores at each image's own size, one image at a time, in float32.

    If several processes work together (torch.distributed), each takes its share of the images, every image
    counts once, and all return the same scores: every process must call this function.

    Args:
        model: a semantic segmentation network. It is put into evaluation mode.
        data: samples ``{"image": uint8 (C, H, W), "mask": integers (H, W)}``, with the attributes ``num_classes`` and
            ``ignore_index``, and optionally ``classes`` (names) and ``images`` (paths). If samples have ``instance``
            (ids (H, W), 0 for none), the instance-weighted IoU is computed too, with the mean sizes of an optional
            attribute ``instance_sizes`` {class index: pixels}.
        normalize: default: the normalization that belongs to the network's weights.
        iterations: of an unrolled network; default: its own number.
        device: that the network runs on.
        mode: see :mod:`gatezoo.inference`; default: whole images, single scale.
        boundary: tolerance of the boundary F-score as a share of the diagonal, usually .0075; default: no such score.
        workers: processes that decode images ahead; 0: none.
        blur: if samples have ``depth`` (metres (H, W), NaN for unknown) and the network predicts it from whole
            images, depth metrics are computed too, after a Gaussian blur of this standard deviation in pixels.

    Raises:
        ValueError: the data set has no images, other classes than the network, no label that counts, or labels that do
            not fit (the message names their image).
    """
    return evaluate_in_detail(model, data, normalize, iterations, device, mode, boundary, workers, blur=blur).scores


@torch.inference_mode()
def evaluate_in_detail(
    model: SemanticSegmenter,
    data: SegmentationData,
    normalize: nn.Module | None = None,
    iterations: int | None = None,
    device: str = "cpu",
    mode: InferenceMode | None = None,
    boundary: float | None = None,
    workers: int = 0,
    progress: Progress | None = None,
    blur: float = 0.0,
) -> Evaluation:
    """Compute the scores of :func:`evaluate`, the confusion matrix and the metrics of every image.

    Args:
        model, data, normalize, iterations, device, mode, boundary, workers, blur: see :func:`evaluate`.
        progress: called with the images and their number, and yields the same images; default: none is shown.
    """
    mode = mode or WholeImage()
    first = _check_semantic(model, data, workers)
    num_classes, ignore_index = data.num_classes, data.ignore_index
    metric = SegmentationMetric(num_classes, ignore_index, device)
    contours = None if boundary is None else BoundaryMetric(num_classes, boundary, ignore_index, device)
    instances = None
    if "instance" in first:
        sizes = getattr(data, "instance_sizes", None)
        instances = InstanceWeightedMetric(num_classes, sizes, ignore_index, device)
    depths = DepthMetric(device) if "depth" in first and model.predicts_depth and mode == WholeImage() else None
    predictor = Predictor(model, device, mode=mode, iterations=iterations, blur=blur, normalize=normalize)

    images = []
    for name, sample, maps in _predictions(predictor, data, workers, progress, depth=bool(depths)):
        classes, labels = maps[-1].classes, sample["mask"].to(predictor.device)
        with image_error_context(name):
            confusion_matrix = metric.update(classes, labels)
            if depths and maps[-1].depth is not None:
                depths.update(maps[-1].depth, sample["depth"].to(device))
        images.append(_image_result(name, labels, confusion_matrix))
        if contours:
            contours.update(classes, labels)
        if instances:
            instances.update(classes, labels, sample["instance"].to(device))
    confusion_matrix = metric.confusion_matrix()
    if not confusion_matrix.any():
        raise ValueError(f"labels must hold a pixel that counts; all are {ignore_index} (ignored): check the labels")
    scores = scores_from_confusion(confusion_matrix)
    protocol: dict[str, Any] = {
        "mode": str(mode),
        "iterations": iterations or getattr(model, "iterations", None),
        "images": len(data),
        "precision": "float32",
    }
    if contours:
        mean, by_class = contours.compute()
        scores = replace(scores, boundary_f=mean, boundary_f_by_class=by_class)
        protocol["boundary_tolerance"] = boundary
    if instances:
        mean, by_class = instances.compute()
        scores = replace(scores, iiou=mean, iiou_by_class=by_class)
    if depths:
        scores = replace(scores, depth=depths.compute())
        protocol["depth_blur"] = blur
    return Evaluation(scores, confusion_matrix, gather_interleaved(images), protocol)


@torch.inference_mode()
def evaluate_passes(
    model: SemanticSegmenter,
    data: SegmentationData,
    normalize: nn.Module | None = None,
    iterations: int | None = None,
    device: str = "cpu",
    workers: int = 0,
) -> list[SegmentationResult]:
    """Compute the scores after 1, 2, ... iterations, all at the cost of the last.

    The arguments are those of :func:`evaluate`.
    """
    _check_semantic(model, data, workers)
    own_iterations: int = getattr(model, "iterations", 1)
    metrics = [
        SegmentationMetric(data.num_classes, data.ignore_index, device) for _ in range(iterations or own_iterations)
    ]

    predictor = Predictor(model, device, iterations=iterations, normalize=normalize)
    for name, sample, maps in _predictions(predictor, data, workers, None, all_passes=True):
        with image_error_context(name):
            for metric, one in zip(metrics, maps, strict=True):
                metric.update(one.classes, sample["mask"].to(device))
    return [metric.compute() for metric in metrics]


def check_class_names(model: BaseSegmenter, data: LabeledData) -> None:
    """Raise ValueError if a class has another name in the data than in the network's weights.

    For weights that are evaluated as they are. A network that is being fine-tuned may keep the names of its first
    weights.
    """
    for index, (own, other) in enumerate(zip(model.class_names, getattr(data, "classes", None) or ())):
        # A number is the placeholder of a name that is not known.
        if not (own.isdecimal() or other.isdecimal() or own.lower() == other.lower()):
            raise ValueError(
                f"the data must have the network's classes; class {index} is {own!r} in the network and "
                f"{other!r} in the data: fine-tune the network on them first, or choose other data"
            )


def _check_semantic(model: SemanticSegmenter, data: SegmentationData, workers: int) -> dict[str, Any]:
    """Check model and data, and return the first sample."""
    model.require_task("semantic", "use gatezoo.evaluate_instances")
    return check_data(model, data, ("image", "mask"), workers)


def _predictions(
    predictor: Predictor, data: SegmentationData, workers: int, progress: Progress | None, **what: bool
) -> Iterator[tuple[str, dict[str, Tensor], list[PassMaps]]]:
    """Yield (name, sample, maps) of each image of this process."""
    for index, sample in iterate_samples(data, _KEYS, str(predictor.device), workers, progress):
        name = image_name(data, index)
        with image_error_context(name):
            depth_map = sample.get("depth") if predictor.model.takes_depth else None
            maps = predictor.run(sample["image"], depth_map, **what)
        yield name, sample, maps


def _image_result(name: str, labels: Tensor, confusion_matrix: Tensor) -> ImageResult:
    scores, pixels = scores_from_confusion(confusion_matrix), confusion_matrix.sum().double()
    height, width = labels.shape
    return ImageResult(
        name,
        height,
        width,
        miou=scores.miou,
        pixel_accuracy=scores.pixel_accuracy,
        labeled=(confusion_matrix.sum(1) / pixels).tolist(),
        predicted=(confusion_matrix.sum(0) / pixels).tolist(),
    )
