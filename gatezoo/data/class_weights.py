"""Class weights from the class frequencies of a data set."""

from __future__ import annotations

import torch
from torch import Tensor

from ..utils.choices import check_choice

# Exponents of the frequency.
_POWERS = {"none": 0.0, "inverse": -1.0, "sqrt": -0.5, "median": -1.0}


def class_weights(class_frequencies: Tensor, kind: str = "none") -> Tensor | None:
    """Compute class weights for cross-entropy, scaled to a mean of 1 over the classes that occur.

    Args:
        class_frequencies: share of each class, (K,); for "median" among the images that hold it (``present_only``).
        kind: "none", "inverse" (1 / frequency), "sqrt" (1 / square root of frequency), or "median" (median of the
            frequencies / frequency; Eigen and Fergus, 2015; not scaled to a mean of 1).

    Returns:
        Weights (K,), 0 for classes that do not occur; None for "none".
    """
    if check_choice("class weights", kind, _POWERS) == "none":
        return None
    occurs = class_frequencies > 0
    if not occurs.any():
        return torch.zeros(len(occurs))
    weights = torch.where(occurs, class_frequencies, 1.0) ** _POWERS[kind]
    scale = class_frequencies[occurs].median() if kind == "median" else 1 / weights[occurs].mean()
    return (weights * scale * occurs).float()
