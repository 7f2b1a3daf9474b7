"""Evaluate an instance segmentation network on labeled images, each at its own size."""

from __future__ import annotations

from typing import Any

import torch

from ..metrics.detection import InstanceMetric
from ..segmenters.instance import InstanceSegmenter
from ..utils.progress import Progress
from .samples import LabeledData, check_data, iterate_samples

# COCO's name for each kind of region that is compared.
IOU_TYPES = {"mask": "segm", "box": "bbox"}

_TARGETS = ("boxes", "labels", "masks")
_KEYS = ("image", *_TARGETS)


@torch.inference_mode()
def evaluate_instances(
    model: InstanceSegmenter, data: LabeledData, device: str = "cpu", workers: int = 0, progress: Progress | None = None
) -> dict[str, Any]:
    """Compute COCO's average precision of masks and boxes, one image at a time.

    If several processes work together, each takes its share of the images: every process must call this function.

    Args:
        model: an instance segmentation network. It is put into evaluation mode.
        data: samples with image, boxes, labels and masks as in :mod:`gatezoo.data.instances`, and the attributes
            ``num_classes`` and ``classes``, the background first.
        device: that the network runs on.
        workers: processes that decode images ahead; 0: none.
        progress: called with the images and their number, and yields the same images; default: none is shown.

    Returns:
        mask_ap, mask_ap50, mask_ap75, mask_ap_small .. mask_ar100, mask_by_class {name: AP}, and the same for box; None
        for a metric without any target.

    Raises:
        ValueError: the network has another task, the data set has no images, no instances, or other classes than the
            network.
    """
    model.require_task("instance", "use gatezoo.evaluate")
    check_data(model, data, _KEYS, workers, "classes, the background among them")
    model.to(device).eval()
    metric = InstanceMetric(("segm", "bbox"))
    for _, sample in iterate_samples(data, _KEYS, device, workers, progress):
        (found,) = model([sample["image"].to(device) / 255])
        masks = (found["masks"] >= 0.5)[:, 0]
        metric.update([{**found, "masks": masks}], [{key: sample[key] for key in _TARGETS}])
    results = metric.compute()
    names = getattr(data, "classes", None) or model.class_names
    scores: dict[str, Any] = {}
    for kind, iou_type in IOU_TYPES.items():
        by_class = results[iou_type].pop("by_class")
        scores |= {f"{kind}_{name}": value for name, value in results[iou_type].items()}
        scores[f"{kind}_by_class"] = {names[label]: value for label, value in by_class.items()}
    if scores["mask_ap"] is None:
        raise ValueError("a data set to evaluate on must hold instances; it holds none: check its annotations")
    return scores
