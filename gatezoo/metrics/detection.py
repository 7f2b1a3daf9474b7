"""Average precision of boxes and masks, by COCO's own rules."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from torchmetrics.detection import MeanAveragePrecision

from ..utils.distributed import gather_interleaved
from .segmentation import nan_to_none

# Names that torchmetrics gives to COCO's metrics.
_TORCHMETRICS_NAMES = {
    "ap": "map",
    "ap50": "map_50",
    "ap75": "map_75",
    "ap_small": "map_small",
    "ap_medium": "map_medium",
    "ap_large": "map_large",
    "ar1": "mar_1",
    "ar10": "mar_10",
    "ar100": "mar_100",
}


class InstanceMetric:
    """COCO's average precision (Lin et al., ECCV 2014; cocodataset.org/#detection-eval), by pycocotools.

    AP is the mean over IoU thresholds .5, .55 .. .95 and over classes of the precision, interpolated at 101 recalls;
    small, medium and large are instances below 32^2 pixels, up to 96^2, and above.

    Args:
        iou_types: "bbox" for boxes, "segm" for masks, or both.

    Raises:
        ValueError: iou_types is empty or contains another name.
    """

    def __init__(self, iou_types: Sequence[Literal["bbox", "segm"]] = ("bbox", "segm")):
        unknown = set(iou_types) - {"bbox", "segm"}
        if unknown or not iou_types:
            raise ValueError(f"iou_types must be 'bbox', 'segm' or both; got {list(iou_types)}")
        self.iou_types = tuple(iou_types)
        self._metric = self._make_metric()

    def _make_metric(self) -> MeanAveragePrecision:
        return MeanAveragePrecision(
            iou_type=self.iou_types,
            # COCO's own thresholds. Those of torchmetrics are float32: an IoU of exactly .6 would not be "at least .6".
            iou_thresholds=np.linspace(0.5, 0.95, 10).tolist(),
            rec_thresholds=np.linspace(0, 1, 101).tolist(),
            class_metrics=True,
            backend="pycocotools",
            # torchmetrics' synchronization hangs if processes have different numbers of images.
            sync_on_compute=False,
        )

    def update(self, predictions: Sequence[dict[str, Tensor]], targets: Sequence[dict[str, Tensor]]) -> None:
        """Add predictions and targets of some images, as torchvision's detection networks give and take them.

        A prediction has boxes (N, 4) x1 y1 x2 y2, labels (N,), scores (N,) and, for "segm", masks (N, 1, H, W) of
        probabilities, which count from .5 on, or (N, H, W) of bool. A target has the same without scores, and may
        have iscrowd (N,) and area (N,).
        """
        predictions, targets = ([self._to_plain(item) for item in items] for items in (predictions, targets))
        self._metric.update(predictions, targets)

    def _to_plain(self, item: dict[str, Tensor]) -> dict[str, Tensor]:
        """Convert to plain tensors on the CPU, with masks (N, H, W) of bool."""
        item = {key: value.detach().cpu().as_subclass(torch.Tensor) for key, value in item.items()}
        masks = item.pop("masks", None)
        if "segm" in self.iou_types and masks is not None:
            masks = masks.squeeze(1) if masks.ndim == 4 else masks
            item["masks"] = masks >= 0.5 if masks.is_floating_point() else masks.bool()
        return item

    def compute(self) -> dict[str, dict[str, Any]]:
        """Return the metrics of all processes, over which the images are interleaved. Every process must call it.

        Returns:
            For each iou type: ap, ap50, ap75, ap_small .. ar100, and by_class {label: ap}; None for a metric without
            any target.
        """
        metric = self._make_metric()
        metric.update([], [])  # without an update it warns
        for name in metric.metric_state:
            setattr(metric, name, gather_interleaved(getattr(self._metric, name)))
        computed = metric.compute()
        results = {}
        for kind in self.iou_types:
            prefix = f"{kind}_" if len(self.iou_types) > 1 else ""
            values: dict[str, Any] = {
                ours: computed[prefix + theirs].item() for ours, theirs in _TORCHMETRICS_NAMES.items()
            }
            labels, scores = computed["classes"].reshape(-1), computed[f"{prefix}map_per_class"].reshape(-1)
            values["by_class"] = dict(zip(labels.tolist(), scores.tolist()))
            results[kind] = values
        return _none_for_absent(results)


def _none_for_absent(value: Any) -> Any:
    """Replace -1, COCO's value for metrics without any target, and NaN by None."""
    if isinstance(value, dict):
        return {key: _none_for_absent(item) for key, item in value.items()}
    return None if value < 0 else nan_to_none(value)
