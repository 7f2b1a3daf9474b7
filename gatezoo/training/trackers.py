"""Trackers of Accelerate: what they are given, and under which names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image

NAMES = {"loss": "train/loss", "lr": "train/learning_rate", "images_per_s": "train/images_per_second"}


def check_tracker(name: str) -> None:
    """Raise ValueError if Accelerate knows no tracker of a name, or if it is not installed."""
    from accelerate.tracking import get_available_trackers
    from accelerate.utils import LoggerType

    known = [one for one in LoggerType.list() if one != "all"]
    if name not in known:
        raise ValueError(f"log_with must be one of {', '.join(known)}; got {name!r}")
    if name not in [str(getattr(one, "value", one)) for one in get_available_trackers()]:
        package = {"comet_ml": "comet-ml"}.get(name, name)
        raise ValueError(f"log_with must be an installed tracker; got {name}: pip install {package}")


def named_scalars(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of a row of the log under the names of trackers: train/loss, val/miou, ..."""
    return {
        NAMES.get(key, f"val/{key.removeprefix('val_')}"): value
        for key, value in row.items()
        if key != "step" and value is not None
    }


def plain_config(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Return a recipe as the hyper-parameters that all trackers take: numbers, bools and text."""
    return {key: value if isinstance(value, int | float | str) else str(value) for key, value in metadata.items()}


def log_figure(trackers: Sequence[Any], name: str, figure: Image.Image, step: int) -> None:
    """Log a figure to those of Accelerate's trackers that show images."""
    for tracker in trackers:
        if tracker.name == "trackio":  # Accelerate has no method for its images
            import trackio

            tracker.log({name: trackio.Image(figure)}, step=step)
        elif hasattr(tracker, "log_images"):
            options = {"dataformats": "NHWC"} if tracker.name == "tensorboard" else {}
            tracker.log_images({name: np.asarray(figure)[None]}, step=step, **options)
