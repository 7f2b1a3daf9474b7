"""Average precision of boxes and masks, by COCO's own rules."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torchmetrics.detection import MeanAveragePrecision

from ..utils.distributed import gather_interleaved
from .segmentation import nan_to_none

# COCO's figures by the names that torchmetrics gives them.
_FIGURES = {
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
        ValueError: another iou_type.
    """

    def __init__(self, iou_types: Sequence[str] = ("bbox", "segm")):
        unknown = set(iou_types) - {"bbox", "segm"}
        if unknown or not iou_types:
            raise ValueError(f"iou_types must be 'bbox', 'segm' or both; got {list(iou_types)}")
        self.iou_types = tuple(iou_types)
        # Its own synchronisation waits for ever where processes have different numbers of images.
        self._metric = self._empty()

    def _empty(self) -> MeanAveragePrecision:
        return MeanAveragePrecision(
            iou_type=self.iou_types,
            # COCO's own numbers. Those of torchmetrics are float32: an IoU of exactly .6 would not be "at least .6".
            iou_thresholds=np.linspace(0.5, 0.95, 10).tolist(),
            rec_thresholds=np.linspace(0, 1, 101).tolist(),
            class_metrics=True,
            backend="pycocotools",
            sync_on_compute=False,
        )

    def update(self, predictions: Sequence[dict[str, Tensor]], targets: Sequence[dict[str, Tensor]]) -> None:
        """Predictions and truth of some images, as torchvision's detection networks give and take them.

        A prediction has boxes (N, 4) x1 y1 x2 y2, labels (N,), scores (N,) and, for "segm", masks (N, 1, H, W) of
        probabilities, which count from .5 on, or (N, H, W) of bool; a target the same without scores, and may have
        iscrowd (N,) and area (N,).
        """
        predictions, targets = ([self._plain(item) for item in items] for items in (predictions, targets))
        self._metric.update(predictions, targets)

    def _plain(self, item: dict[str, Tensor]) -> dict[str, Tensor]:
        """On the CPU, as plain tensors, with masks (N, H, W) of bool."""
        item = {key: value.detach().cpu().as_subclass(torch.Tensor) for key, value in item.items()}
        masks = item.pop("masks", None)
        if "segm" in self.iou_types and masks is not None:
            masks = masks.squeeze(1) if masks.ndim == 4 else masks
            item["masks"] = masks >= 0.5 if masks.is_floating_point() else masks.bool()
        return item

    def compute(self) -> dict[str, dict[str, float | dict[int, float | None] | None]]:
        """For each iou type: ap, ap50, ap75, ap_small .. ar100, and by_class {label: ap}; None where none was there.

        Of all processes, among which the images were dealt out in turn. Every process must call it.
        """
        metric = self._empty()
        metric.update([], [])  # it warns when it never was
        for name in metric.metric_state:
            setattr(metric, name, gather_interleaved(getattr(self._metric, name)))
        figures = metric.compute()
        found = {}
        for kind in self.iou_types:
            prefix = f"{kind}_" if len(self.iou_types) > 1 else ""
            values = {ours: figures[prefix + theirs].item() for ours, theirs in _FIGURES.items()}
            by_class = dict(zip(figures["classes"].reshape(-1).tolist(), figures[f"{prefix}map_per_class"].reshape(-1)))
            values["by_class"] = {label: value.item() for label, value in by_class.items()}
            found[kind] = values
        return _none_for_absent(found)


def _none_for_absent(value):
    """COCO says -1 where there was nothing to find."""
    if isinstance(value, dict):
        return {key: _none_for_absent(item) for key, item in value.items()}
    return None if value < 0 else nan_to_none(value)
