"""Evaluate an instance segmentation network on labeled images, each at its own size."""

from __future__ import annotations

import torch

from ..inference.inputs import check_model
from ..metrics import Scores
from ..segmenters.instance import InstanceSegmenter
from ..utils.progress import Progress
from .loop import evaluate
from .samples import LabeledData


def evaluate_instances(
    model: InstanceSegmenter,
    data: LabeledData,
    device: str | torch.device | None = None,
    workers: int = 0,
    progress: Progress | None = None,
) -> Scores:
    """Compute COCO's average precision of masks and boxes: the scores of :func:`gatezoo.evaluate`.

    Args:
        model: an instance segmentation network; it is not changed.
        data: samples with image, boxes, labels, masks and optionally iscrowd, as in :mod:`gatezoo.data.instances`.
        device, workers, progress: see :func:`gatezoo.evaluate`.

    Returns:
        mask_ap, mask_ap50, mask_ap75, mask_ap_small .. mask_ar100, mask_by_class {name: AP}, and the same for box; None
        for a metric without any target.

    Raises:
        ValueError: the network has another task, the data set has no images, no instances, or other classes than the
            network.
    """
    check_model(model, "instance", "use gatezoo.evaluate")
    return evaluate(model, data, device=device, workers=workers, progress=progress).scores
