"""Division of depth into scales."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

# In metres: the inner quintiles of the rooms of NYU-Depth-v2 lie between these.
_INDOOR = (1.8, 3.8)


def check_thresholds(thresholds: Sequence[float] | None, scales: int) -> tuple[float, ...]:
    """Return the thresholds between the scales; by default in equal ratios over the depths of rooms.

    Raises:
        ValueError: another number than ``scales`` - 1, or depths that are not positive or do not rise.
    """
    low, high = _INDOOR
    if thresholds is None:
        return tuple(low * (high / low) ** (step / max(1, scales - 2)) for step in range(scales - 1))
    rising = all(near < far for near, far in itertools.pairwise((0, *thresholds, math.inf)))
    if len(thresholds) != scales - 1 or not rising:
        raise ValueError(
            f"thresholds must be {scales - 1} rising positive depths, one between two scales; got {thresholds}"
        )
    return tuple(thresholds)


@dataclass(frozen=True)
class DepthScale:
    """Division of depth into scales.

    Attributes:
        thresholds: depths between the scales, rising.
        unit: of the thresholds, and of a depth that is given: "metres" or "disparity".
    """

    thresholds: Sequence[float]
    unit: str = "metres"
