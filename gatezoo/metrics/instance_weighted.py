"""IoU in which small instances count as much as large ones."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from .sums import SumStates


class InstanceWeightedMetric:
    """Instance-weighted IoU of Cityscapes (Cordts et al., CVPR 2016, Sec. 4.1). Of class c, over its instances i::

        w_i = (mean size of the class' instances) / (size of i)
        iTP = sum_i w_i (pixels of i predicted c)        iFN = sum_i w_i (pixels of i predicted otherwise)
        FP = pixels predicted c that are labelled with another class, each counted once
        iIoU_c = iTP / (iTP + FP + iFN)

    Args:
        num_classes: K.
        sizes: mean size of the instances by class number, such as those of Cityscapes; without, and for a class that
            is not in it, the mean over what is evaluated.
        ignore_index: label that does not count.
        device: where a group of processes shares its sums.
    """

    def __init__(
        self,
        num_classes: int,
        sizes: Mapping[int, float] | None = None,
        ignore_index: int = 255,
        device: str | torch.device = "cpu",
    ):
        self.num_classes, self.sizes, self.ignore_index = num_classes, dict(sizes or {}), ignore_index
        names = ("hits", "instances", "pixels", "false_positives")
        self._totals = SumStates(dict.fromkeys(names, num_classes), device)

    def update(self, classes: Tensor, labels: Tensor, instances: Tensor) -> None:
        """Predicted classes, labels and instance ids of one image, each (H, W) of integers.

        An id is 0 where there is no instance; one that spans two classes is an instance of each.
        """
        counted = labels != self.ignore_index
        classes, labels, instances = (x[counted].long() for x in (classes, labels, instances))
        right = classes == labels
        wrong = torch.bincount(classes[~right], minlength=self.num_classes)
        inside = instances > 0
        # Ids of a class apart from those of another.
        keys = instances[inside] * self.num_classes + labels[inside]
        keys, member, sizes = keys.unique(return_inverse=True, return_counts=True)
        found = torch.bincount(member, weights=right[inside].double(), minlength=len(keys))
        owner = keys % self.num_classes

        def by_class(values: Tensor) -> Tensor:
            return torch.bincount(owner, weights=values.double(), minlength=self.num_classes)

        self._totals.update(
            {
                "hits": by_class(found / sizes),
                "instances": by_class(torch.ones_like(sizes)),
                "pixels": by_class(sizes),
                "false_positives": wrong,
            }
        )

    def compute(self) -> tuple[float, list[float]]:
        """The mean over the classes that have instances, and iIoU of each (NaN without). Every process must call it."""
        totals = self._totals.compute()
        instances, hits = totals["instances"], totals["hits"]
        mean_size = totals["pixels"] / instances  # NaN for a class without instances, and so is all that follows
        for number, size in self.sizes.items():
            mean_size[number] = size
        weighted = mean_size * instances  # iTP + iFN: the hits and misses of an instance sum to w_i times its size
        iiou = mean_size * hits / (weighted + totals["false_positives"])
        iiou[instances == 0] = torch.nan
        return iiou[instances > 0].mean().item(), iiou.tolist()
