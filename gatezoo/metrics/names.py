"""Names of metrics, and which of them speaks for a set of weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# Figures of an evaluation that an entry keeps, by the titles they go under; the first that is there speaks for all.
HEADLINES = {
    "miou": "mIoU",
    "pixel_accuracy": "pixel accuracy",
    "mean_accuracy": "mean accuracy",
    "mask_ap": "mask AP",
    "mask_ap50": "mask AP at IoU .5",
    "box_ap": "box AP",
    "miou_cityscapes": "mIoU on Cityscapes",
    "delta1": "depth within 1.25",
    "delta2": "1.25^2",
    "delta3": "1.25^3",
}


def headline(metrics: Mapping[str, Any]) -> str:
    """'mIoU .63 on CamVid val', of an entry's metrics."""
    figure = next((key for key in HEADLINES if key in metrics), None)
    return f"{HEADLINES[figure]} {metrics[figure]} on {metrics['protocol']}" if figure else "not measured"
