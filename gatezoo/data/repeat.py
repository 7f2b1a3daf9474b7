"""Repeat factors of images, so that rare classes are seen more often (Gupta et al., LVIS, CVPR 2019)."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..utils.parallel import parallel_map
from .base import SegmentationDataset
from .datasets.coco import CocoInstances


def repeat_factors(data: Any, threshold: float) -> np.ndarray | None:
    """Compute how often each image is shown in an epoch on average; None for a threshold of 0: once.

    r(image) = max over its classes c of max(1, sqrt(threshold / f(c))), with f(c) the share of images that hold c.

    Args:
        data: labeled images, semantic or of instances.
        threshold: share of images below which a class is rare.
    """
    if not threshold:
        return None
    return factors_of_classes(list(parallel_map(_ClassesOf(data), range(len(data)))), threshold)


def factors_of_classes(classes: Sequence[set[int]], threshold: float) -> np.ndarray:
    """Compute the factors of images from the classes that each of them holds: see :func:`repeat_factors`."""
    held, images_with = np.unique([k for present in classes for k in present], return_counts=True)
    factor = dict(zip(held.tolist(), np.maximum(1, np.sqrt(threshold * len(classes) / images_with)).tolist()))
    return np.array([max((factor[k] for k in present), default=1.0) for present in classes])


class _ClassesOf:
    """Function from the index of an image to the classes that it holds."""

    def __init__(self, data: Any):
        self.data = copy.copy(data)
        self.data.transform = None

    def __call__(self, index: int) -> set[int]:
        data = self.data
        if isinstance(data, SegmentationDataset):
            return set(data.labels(index).unique().tolist()) - {data.ignore_index}
        if isinstance(data, CocoInstances):
            return data.classes_of(index)
        sample = data[index]  # of any other data set
        if "labels" in sample:
            return set(sample["labels"].tolist())
        return set(sample["mask"].unique().tolist()) - {data.ignore_index}
