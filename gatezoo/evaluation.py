"""Evaluation of a network on labelled pictures, each at its own size."""

from __future__ import annotations

import torch
from torch import nn

from .data import FolderDataset
from .metrics import Scores, SegmentationScores
from .segmenter import SegmentationModel
from .transforms import normalization_of


def evaluate(
    model: SegmentationModel,
    data: FolderDataset,
    normalize: nn.Module | None = None,
    iterations: int | None = None,
    device: str = "cpu",
) -> Scores:
    """Scores of single-scale prediction at each picture's own size, one picture at a time, in float32.

    Args:
        normalize: default: what the network's weights expect.
        iterations: passes of an unrolled network; default: its own.
    """
    return _scores(model, data, normalize, iterations, device, every_pass=False)[-1]


def evaluate_passes(
    model: SegmentationModel,
    data: FolderDataset,
    normalize: nn.Module | None = None,
    iterations: int | None = None,
    device: str = "cpu",
) -> list[Scores]:
    """As :func:`evaluate`, for every pass at the cost of the last: the scores after 1, 2, ... of them."""
    return _scores(model, data, normalize, iterations, device, every_pass=True)


@torch.inference_mode()
def _scores(
    model: SegmentationModel,
    data: FolderDataset,
    normalize: nn.Module | None,
    iterations: int | None,
    device: str,
    every_pass: bool,
) -> list[Scores]:
    keywords = {} if iterations is None else {"iterations": iterations}
    normalize = (normalize or normalization_of(model)).to(device)
    model.to(device).eval()
    scores: list[SegmentationScores] = []
    for image, labels in data:
        batch = normalize(image[None].to(device)).contiguous(memory_format=torch.channels_last)
        passes = model.outputs(batch, **keywords).iterations if every_pass else [model(batch, **keywords)]
        scores = scores or [SegmentationScores(data.num_classes, data.ignore_index) for _ in passes]
        for accumulated, logits in zip(scores, passes, strict=True):
            accumulated.update(logits.argmax(1)[0], labels.to(device))
    return [accumulated.compute() for accumulated in scores]
