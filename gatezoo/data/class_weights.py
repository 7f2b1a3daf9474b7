"""Class weights from the pixel frequencies of a data set."""

from __future__ import annotations

import torch
from torch import Tensor

from ..utils.choices import check_choice


def class_weights(class_frequencies: Tensor, kind: str = "none") -> Tensor | None:
    """Weights of the classes for cross-entropy, their mean over the classes that occur 1.

    Args:
        frequencies: share of each class, (K,); for "median" among the images that hold it (``where_present``).
        kind: "none", "inverse" (1 / frequency), "sqrt" (1 / square root of frequency), or "median" (median of the
            frequencies / frequency; Eigen and Fergus, 2015; not scaled to a mean of 1).
    """
    powers = {"none": None, "inverse": -1.0, "sqrt": -0.5, "median": -1.0}
    if powers[check_choice("class weights", kind, powers)] is None:
        return None
    occurs = class_frequencies > 0
    weights = torch.where(occurs, class_frequencies, 1.0) ** powers[kind]
    scale = class_frequencies[occurs].median() if kind == "median" else 1 / weights[occurs].mean()
    return (weights * scale * occurs).float()
