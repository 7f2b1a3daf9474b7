"""Evaluate a network on labeled images, each at its own size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from ..inference.data_classes import check_class_names as check_class_names  # users take it from here
from ..inference.inputs import check_model
from ..inference.modes import InferenceMode, WholeImage
from ..inference.passes import Iterations
from ..inference.predictor import Predictor
from ..metrics import CountMetric, DepthMetric, InstanceMetric, InstanceWeightedMetric, Metric, Scores
from ..segmenters.base import BaseSegmenter, SemanticSegmenter
from ..segmenters.instance import InstanceSegmenter
from ..utils.distributed import gather_interleaved
from ..utils.progress import Progress
from .result import Evaluation, ImageScores
from .runs import InstanceRun, SemanticRun
from .samples import LabeledData, check_data, image_error_context, image_name, iterate_samples


def evaluate(  # noqa: PLR0913
    model: BaseSegmenter,
    data: LabeledData,
    *,
    metrics: Sequence[Metric] | None = None,
    mode: InferenceMode | None = None,
    iterations: Iterations = None,
    merge: str | None = None,
    all_iterations: bool = False,
    device: str | torch.device | None = None,
    normalize: nn.Module | None = None,
    workers: int = 0,
    progress: Progress | None = None,
    blur: float = 0.0,
) -> Evaluation:
    """Compute scores at each image's own size, one image at a time, in float32.

    If several processes work together (torch.distributed), each takes its share of the images, every image counts
    once, and all return the same scores: every process must call this function.

    Args:
        model: a network; it is not changed.
        data: samples ``{"image": uint8 (C, H, W), "mask": integers (H, W)}``, with the attributes ``num_classes`` and
            ``ignore_index``, and optionally ``classes`` (names) and ``images`` (paths). For instance segmentation,
            samples with image, boxes, labels, masks and optionally iscrowd, as in :mod:`gatezoo.data.instances`, and
            the background first in ``classes``.
        metrics: metrics in addition to IoU and accuracy, such as ``[BoundaryMetric()]``; of an instance segmentation
            network, all metrics. Default: :func:`default_metrics`.
        mode: see :mod:`gatezoo.inference`; default: whole images, single scale; windows for very large images.
        iterations: of an unrolled network, a number or "auto"; default: its own number.
        merge: "max" or "mean": score the merged probabilities of all passes; default: those of the last pass.
        all_iterations: also score each pass, at the cost of the last.
        device: that the network runs on, such as "auto" or "cuda:1"; default: where it is.
        normalize: default: the normalization that belongs to the network's weights.
        workers: processes that decode images ahead; 0: none.
        progress: called with the images and their number, and yields the same images; default: none is shown.
        blur: standard deviation, in pixels, of a Gaussian that smooths predicted depth.

    Raises:
        ValueError: the data set has no images, other classes than the network, no label that counts, or labels that do
            not fit (the message names their image); or the arguments do not fit the network or the data.
    """
    check_model(model, getattr(model, "task", "semantic"), "choose another network")
    first = check_data(model, data, workers)
    metrics = list(default_metrics(model, data, mode) if metrics is None else metrics)
    _check_needs(metrics, first)
    run: SemanticRun | InstanceRun
    if isinstance(model, SemanticSegmenter):
        predictor = Predictor(
            model,
            device,
            mode=mode,
            iterations=iterations,
            merge=merge,
            blur=blur,
            normalize=normalize,
        )
        run = SemanticRun(predictor, {name for metric in metrics for name in metric.outputs}, all_iterations)
        metrics = [ImageScores(), *metrics]
    else:
        assert isinstance(model, InstanceSegmenter)
        _refuse(model, mode=mode, iterations=iterations, merge=merge, all_iterations=all_iterations or None)
        run = InstanceRun(model, device)
    ignore_index = getattr(data, "ignore_index", 255)
    groups = [
        [metric.start(model.num_classes, ignore_index, run.device) for metric in metrics] for _ in range(run.results)
    ]
    keys = {"image", "depth", "iscrowd"}.union(*(metric.needs for metric in metrics))
    for index, sample in iterate_samples(data, keys, run.device, workers, progress):
        name = image_name(data, index)
        with image_error_context(name):
            labels = {key: value.to(run.device) for key, value in sample.items() if key != "image"} | {"name": name}
            for group, result in zip(groups, run(sample), strict=True):
                for metric in group:
                    metric.update(result, labels)
    return _result(groups, run, len(data))


def default_metrics(model: BaseSegmenter, data: LabeledData, mode: InferenceMode | None = None) -> list[Metric]:
    """Return the metrics that a network and a data set have labels and predictions for, without further settings.

    For semantic segmentation, in addition to IoU and accuracy: the instance-weighted IoU if samples have ``instance``
    (ids (H, W), 0 for none), with the mean sizes of an optional attribute ``instance_sizes`` {class index: pixels}; and
    the metrics of depth if samples have ``depth`` (metres (H, W), NaN for unknown) and the network predicts it from
    whole images. For instance segmentation: COCO's average precision, and the error of the number of instances.
    """
    if isinstance(model, InstanceSegmenter):
        return [InstanceMetric(class_names=getattr(data, "classes", None) or model.class_names), CountMetric()]
    first, metrics = data[0], list[Metric]()
    if "instance" in first:
        metrics.append(InstanceWeightedMetric(getattr(data, "instance_sizes", None)))
    if "depth" in first and "depth" in model.capabilities and mode in (None, WholeImage()):
        metrics.append(DepthMetric())
    return metrics


def _check_needs(metrics: Sequence[Metric], sample: Mapping[str, Any]) -> None:
    """Raise ValueError if a sample lacks what a metric needs."""
    for metric in metrics:
        if missing := [key for key in metric.needs if key not in sample]:
            raise ValueError(
                f"metrics must fit the data; {type(metric).__name__} needs {missing[0]}, a sample has "
                f"{', '.join(sample)}: leave the metric out, or load data that have it"
            )


def _refuse(model: BaseSegmenter, **arguments: object) -> None:
    """Raise ValueError for an argument that only semantic segmentation has."""
    for name, value in arguments.items():
        if value is not None:
            raise ValueError(
                f"{name} is only supported for semantic segmentation; got {value} for "
                f"{model.architecture or type(model).__name__}: leave it out"
            )


def _result(groups: Sequence[Sequence[Metric]], run: SemanticRun | InstanceRun, count: int) -> Evaluation:
    """Compute the scores of all processes."""
    scores = [Scores(item for metric in group for item in metric.compute().items()) for group in groups]
    images, matrix, first = [], None, groups[-1][0]
    if isinstance(first, ImageScores):
        images, matrix = gather_interleaved(first.images), first.confusion_matrix()
        if not matrix.any():
            raise ValueError(
                f"labels must hold a pixel that counts; all are {first.ignore_index} (ignored): check the labels"
            )
    elif scores[-1].get("mask_ap", 0) is None:
        raise ValueError("a data set to evaluate on must hold instances; it holds none: check its annotations")
    protocol = run.protocol(images) | {"images": count}
    for metric in groups[-1]:
        protocol |= metric.settings
    return Evaluation(scores[-1], scores[: run.passes], protocol, images, matrix)
