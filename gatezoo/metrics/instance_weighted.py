"""Instance-weighted IoU: small instances count as much as large ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from .base import Metric
from .sums import SumStates


class InstanceWeightedMetric(Metric):
    """Instance-weighted IoU of Cityscapes (Cordts et al., CVPR 2016, Sec. 4.1), which its evaluation script calls nIoU.

    Kong and Fowlkes (supplement, Table 1) give it under that name, as the mean of the eight classes with instances.

    Of class c, over its instances i::

        w_i = (mean size of the class' instances) / (size of i)
        iTP = sum_i w_i (pixels of i predicted c)        iFN = sum_i w_i (pixels of i predicted otherwise)
        FP = pixels predicted c that are labeled with another class, each counted once
        iIoU_c = iTP / (iTP + FP + iFN)

    Args:
        sizes: mean size of the instances by class index, such as those of Cityscapes; default, and for a class without
            an entry: the mean over the evaluated images.
    """

    needs = ("mask", "instance")

    def __init__(self, sizes: Mapping[int, float] | None = None):
        self.sizes = dict(sizes or {})

    def reset(self, device: str | torch.device) -> None:
        names = ("hits", "instances", "pixels", "false_positives")
        self._sums = SumStates(dict.fromkeys(names, self.num_classes), device)

    def update(self, maps: Any, sample: Mapping[str, Any]) -> None:
        """Add the predicted classes, labels and instance ids of one image, each (H, W) of integers.

        An id of 0 marks no instance; an id that spans two classes is an instance of each.
        """
        counted = sample["mask"] != self.ignore_index
        classes, labels, instances = (x[counted].long() for x in (maps.classes, sample["mask"], sample["instance"]))
        correct = classes == labels
        false_positives = torch.bincount(classes[~correct], minlength=self.num_classes)
        inside = instances > 0
        # One key per pair of id and class.
        keys = instances[inside] * self.num_classes + labels[inside]
        keys, key_of_pixel, sizes = keys.unique(return_inverse=True, return_counts=True)
        hits = torch.bincount(key_of_pixel, weights=correct[inside].double(), minlength=len(keys))
        class_of_key = keys % self.num_classes

        def by_class(values: Tensor) -> Tensor:
            return torch.bincount(class_of_key, weights=values.double(), minlength=self.num_classes)

        self._sums.update(
            {
                "hits": by_class(hits / sizes),
                "instances": by_class(torch.ones_like(sizes)),
                "pixels": by_class(sizes),
                "false_positives": false_positives,
            }
        )

    def compute(self) -> dict[str, Any]:
        """Return the mean over the classes that have instances, and the iIoU of each class (NaN without instances)."""
        sums = self._sums.compute()
        instances, hits = sums["instances"], sums["hits"]
        mean_size = sums["pixels"] / instances  # NaN for a class without instances, as is everything computed from it
        for index, size in self.sizes.items():
            mean_size[index] = size
        weighted = mean_size * instances  # iTP + iFN: the hits and misses of an instance sum to w_i times its size
        iiou = mean_size * hits / (weighted + sums["false_positives"])
        iiou[instances == 0] = torch.nan
        return {"iiou": iiou[instances > 0].mean().item(), "iiou_by_class": iiou.tolist()}
