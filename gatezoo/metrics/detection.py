"""Average precision of boxes and masks, by COCO's own rules."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from torchmetrics.detection import MeanAveragePrecision

from ..utils.distributed import gather_interleaved
from .base import Metric, nan_to_none

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


# COCO's name for each kind of region that is compared, by ours.
IOU_TYPES: dict[str, Literal["segm", "bbox"]] = {"mask": "segm", "box": "bbox"}


class InstanceMetric(Metric):
    """COCO's average precision (Lin et al., ECCV 2014; cocodataset.org/#detection-eval), by faster-coco-eval.

    AP is the mean over IoU thresholds .5, .55 .. .95 and over classes of the precision, interpolated at 101 recalls;
    small, medium and large are instances below 32^2 pixels, up to 96^2, and above. What is found in a crowd is neither
    right nor wrong.

    Args:
        regions: "mask", "box", or both.
        class_names: name of each label, for the scores by class; default: the labels themselves.
        backend: another implementation that torchmetrics has: "pycocotools", the publishers' own, which is slower.

    Raises:
        ValueError: regions is empty or contains another name.
    """

    needs = ("boxes", "labels", "masks")

    def __init__(
        self,
        regions: Sequence[str] = ("mask", "box"),
        class_names: Sequence[str] | None = None,
        backend: Literal["faster_coco_eval", "pycocotools"] = "faster_coco_eval",
    ):
        if not regions or set(regions) - IOU_TYPES.keys():
            raise ValueError(f"regions must be 'mask', 'box' or both; got {list(regions)}: pass ('mask', 'box')")
        self.regions, self.class_names, self.backend = tuple(regions), class_names, backend

    def reset(self, device: str | torch.device) -> None:
        self._metric = self._make_metric()

    def _make_metric(self) -> MeanAveragePrecision:
        return MeanAveragePrecision(
            iou_type=tuple(IOU_TYPES[region] for region in self.regions),
            # COCO's own thresholds. Those of torchmetrics are float32: an IoU of exactly .6 would not be "at least .6".
            iou_thresholds=np.linspace(0.5, 0.95, 10).tolist(),
            rec_thresholds=np.linspace(0, 1, 101).tolist(),
            class_metrics=True,
            backend=self.backend,
            # torchmetrics' synchronization hangs if processes have different numbers of images.
            sync_on_compute=False,
        )

    def update(self, maps: Mapping[str, Any], sample: Mapping[str, Any]) -> None:
        """Add the instances that are found in an image, and its targets, as torchvision's networks have them.

        Args:
            maps: boxes (N, 4) x1 y1 x2 y2, labels (N,), scores (N,) and masks (N, 1, H, W) of probabilities, which
                count from .5 on, or (N, H, W) of bool.
            sample: the same without scores; it may have iscrowd (N,) and area (N,).
        """
        self._metric.update(
            [self._to_plain(maps, ("boxes", "labels", "scores", "masks"))],
            [self._to_plain(sample, ("boxes", "labels", "masks", "iscrowd", "area"))],
        )

    def _to_plain(self, item: Mapping[str, Any], keys: Sequence[str]) -> dict[str, Tensor]:
        """Return the entries as plain tensors on the CPU, with masks (N, H, W) of bool."""
        plain = {}
        for key in keys:
            if key == "masks" and "mask" in self.regions:
                masks = item[key]
                # Masks that are still to be drawn have no dtype.
                masks = masks if getattr(masks, "dtype", None) in (torch.bool, torch.uint8) else masks >= 0.5
                masks = masks.squeeze(1) if masks.ndim == 4 else masks
                plain[key] = masks.bool().cpu().as_subclass(Tensor)
            elif key != "masks" and key in item:
                plain[key] = item[key].detach().cpu().as_subclass(Tensor)
        return plain

    def compute(self) -> dict[str, Any]:
        """Return the scores of all processes, over which the images are interleaved. Every process must call it.

        Returns:
            mask_ap, mask_ap50, mask_ap75, mask_ap_small .. mask_ar100, mask_by_class {name: AP}, and the same for box;
            None for a metric without any target.
        """
        metric = self._make_metric()
        metric.update([], [])  # without an update it warns
        for name in metric.metric_state:
            setattr(metric, name, gather_interleaved(getattr(self._metric, name)))
        labels = [int(label) for one in metric.groundtruth_labels for label in one]
        if labels and not any(len(one) for one in metric.detection_labels):
            # Of a single region without detections torchmetrics gives no AP instead of 0; a wrong one changes nothing.
            nothing = {"boxes": torch.zeros(1, 4), "masks": torch.zeros(1, 1, 1, dtype=torch.bool)}
            wrong = {**nothing, "labels": torch.tensor(labels[:1]), "scores": torch.zeros(1)}
            metric.update([wrong], [{key: value[:0] for key, value in wrong.items() if key != "scores"}])
        computed = metric.compute()
        scores: dict[str, Any] = {}
        for region in self.regions:
            prefix = f"{IOU_TYPES[region]}_" if len(self.regions) > 1 else ""
            for ours, theirs in _TORCHMETRICS_NAMES.items():
                scores[f"{region}_{ours}"] = computed[prefix + theirs].item()
            labels, by_class = computed["classes"].reshape(-1), computed[f"{prefix}map_per_class"].reshape(-1)
            names = [self.class_names[label] if self.class_names else label for label in labels.tolist()]
            scores[f"{region}_by_class"] = dict(zip(names, by_class.tolist()))
        return _none_for_absent(scores)


def _none_for_absent(value: Any) -> Any:
    """Replace -1, COCO's value for metrics without any target, and NaN by None."""
    if isinstance(value, dict):
        return {key: _none_for_absent(item) for key, item in value.items()}
    return None if value < 0 else nan_to_none(value)
