"""Losses and class weights."""

from __future__ import annotations

import torch
from torch import Tensor


def class_weights(frequencies: Tensor, kind: str = "none") -> Tensor | None:
    """Weights of the classes for cross-entropy, their mean over the classes that occur 1.

    Args:
        frequencies: share of each class, (K,).
        kind: "none", "inverse" (1 / frequency) or "sqrt" (1 / square root of frequency).
    """
    powers = {"none": None, "inverse": -1.0, "sqrt": -0.5}
    if kind not in powers:
        raise ValueError(f"class weights must be one of {', '.join(powers)}; got {kind!r}")
    if powers[kind] is None:
        return None
    occurs = frequencies > 0
    weights = torch.where(occurs, frequencies, 1.0) ** powers[kind]
    return (weights / weights[occurs].mean() * occurs).float()
