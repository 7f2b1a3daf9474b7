"""Evaluation of a network on labelled pictures, each at its own size."""

from __future__ import annotations

import torch
from torch import nn

from .data import FolderDataset
from .metrics import Scores, SegmentationScores
from .segmenter import SegmentationModel
from .transforms import normalization_of


@torch.inference_mode()
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
    keywords = {} if iterations is None else {"iterations": iterations}
    normalize = (normalize or normalization_of(model)).to(device)
    model.to(device).eval()
    scores = SegmentationScores(data.num_classes, data.ignore_index)
    for image, labels in data:
        logits = model(normalize(image[None].to(device)), **keywords)
        scores.update(logits.argmax(1)[0], labels.to(device))
    return scores.compute()
