"""Keep what an evaluation predicts for a few of its images, to be drawn."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from ..inference.instance import SCORE_THRESHOLD
from ..metrics import Metric
from ..utils.distributed import get_rank_and_world_size

COUNT = 8


class KeptPredictions(Metric):
    """Predictions for up to eight images, evenly spread over those of this process; a metric without scores.

    Args:
        images: number of images of the whole data set.

    Attributes:
        by_index: prediction by the image's number in the data set. Of a semantic task: label map "classes" (H, W) and,
            if it was evaluated, "depth" (H, W). Of an instance task: boxes (N, 4), labels (N,) and masks (N, H, W) of
            bool, of the instances with a score of .5 at least.
    """

    needs = ()

    def __init__(self, images: int):
        rank, world_size = get_rank_and_world_size()
        self._own = range(rank, images, world_size)
        count = min(COUNT, len(self._own))
        self._chosen = {self._own[k * len(self._own) // count] for k in range(count)}
        self.by_index: dict[int, dict[str, Any]] = {}  # shared with the accumulator, a copy of this object

    def reset(self, device: str | torch.device) -> None:
        self._seen = 0
        self.by_index.clear()

    def update(self, maps: Any, sample: Mapping[str, Any]) -> None:
        """Keep the prediction for an image, if it is one of those."""
        index = self._own[self._seen]
        self._seen += 1
        if index in self._chosen:
            self.by_index[index] = _instances(maps) if isinstance(maps, Mapping) else _label_map(maps)

    def compute(self) -> dict[str, Any]:
        """Return no score."""
        return {}


def _label_map(maps: Any) -> dict[str, np.ndarray]:
    found = {"classes": maps.classes, "depth": maps.depth}
    return {key: value.cpu().numpy() for key, value in found.items() if value is not None}


def _instances(found: Mapping[str, Any]) -> dict[str, torch.Tensor]:
    sure = found["scores"] >= SCORE_THRESHOLD
    masks = [mask.cpu() for mask, keep in zip(found["masks"].drawn(), sure.tolist()) if keep]
    shape = (0, *found["masks"].size)
    return {
        "boxes": found["boxes"][sure].cpu(),
        "labels": found["labels"][sure].cpu(),
        "masks": torch.stack(masks) if masks else torch.zeros(shape, dtype=torch.bool),
    }
