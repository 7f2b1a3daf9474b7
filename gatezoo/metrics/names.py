"""Titles, units and Hub types of all metrics, in one table."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

Unit = Literal["share", "m", "ratio", "count"]


@dataclass(frozen=True)
class MetricInfo:
    """Presentation of one metric.

    Attributes:
        title: for tables and lines of text.
        unit: "share" of something, in 0 .. 1 and shown in per cent; "m" for metres; "ratio", a plain number without
            a unit; "count", a whole number.
        hub_type: name of the metric on the Hugging Face Hub, if it is listed in the header of a model card.
        is_headline: whether the metric may summarize a set of weights, see :func:`headline`.
        lower_is_better: whether a smaller value is a better one.
    """

    title: str
    unit: Unit = "share"
    hub_type: str | None = None
    is_headline: bool = False
    lower_is_better: bool = False


# Each metric by its key in scores.json, in the manifest and in recipes. The first headline that is present summarizes.
METRICS: dict[str, MetricInfo] = {
    "miou": MetricInfo("mIoU", hub_type="mean_iou", is_headline=True),
    "corrupted_miou": MetricInfo("mIoU of corrupted images"),
    "merged_miou": MetricInfo("mIoU of merged passes"),
    "pixel_accuracy": MetricInfo("pixel accuracy", hub_type="accuracy", is_headline=True),
    "mean_accuracy": MetricInfo("mean accuracy", hub_type="mean_accuracy", is_headline=True),
    "weighted_iou": MetricInfo("weighted IoU"),
    "boundary_f": MetricInfo("boundary F-score"),
    "iiou": MetricInfo("instance IoU"),
    "iou": MetricInfo("IoU"),
    "ece": MetricInfo("calibration error", lower_is_better=True),
    "count_error": MetricInfo("count error", lower_is_better=True),
    "absent": MetricInfo("absent classes", unit="count", lower_is_better=True),
    "mask_ap": MetricInfo("mask AP", hub_type="mean_average_precision", is_headline=True),
    "mask_ap50": MetricInfo("mask AP50", is_headline=True),
    "mask_ap75": MetricInfo("mask AP75"),
    "mask_ap_small": MetricInfo("mask AP small"),
    "mask_ap_medium": MetricInfo("mask AP medium"),
    "mask_ap_large": MetricInfo("mask AP large"),
    "mask_ar1": MetricInfo("mask AR1"),
    "mask_ar10": MetricInfo("mask AR10"),
    "mask_ar100": MetricInfo("mask AR100"),
    "box_ap": MetricInfo("box AP", hub_type="mean_average_precision", is_headline=True),
    "box_ap50": MetricInfo("box AP50"),
    "box_ap75": MetricInfo("box AP75"),
    "box_ap_small": MetricInfo("box AP small"),
    "box_ap_medium": MetricInfo("box AP medium"),
    "box_ap_large": MetricInfo("box AP large"),
    "box_ar1": MetricInfo("box AR1"),
    "box_ar10": MetricInfo("box AR10"),
    "box_ar100": MetricInfo("box AR100"),
    "miou_cityscapes": MetricInfo("mIoU on Cityscapes", is_headline=True),
    "delta1": MetricInfo("depth within 1.25", hub_type="delta1", is_headline=True),
    "delta2": MetricInfo("depth within 1.25^2", hub_type="delta2", is_headline=True),
    "delta3": MetricInfo("depth within 1.25^3", hub_type="delta3", is_headline=True),
    "abs_rel": MetricInfo("depth abs rel", unit="ratio", hub_type="abs_rel", lower_is_better=True),
    "rmse": MetricInfo("depth RMSE", unit="m", hub_type="rmse", lower_is_better=True),
    "rmse_log": MetricInfo("depth RMSE of the logarithm", unit="ratio", hub_type="rmse_log", lower_is_better=True),
    "pixels": MetricInfo("pixels with known depth", unit="count"),
    "val_loss": MetricInfo("validation loss", unit="ratio", lower_is_better=True),
}

# Titles of the metrics that a published set of weights keeps, by their keys.
HEADLINES: dict[str, str] = {key: info.title for key, info in METRICS.items() if info.is_headline}


def metric_info(key: str) -> MetricInfo:
    """Return the entry of a metric; of an unknown one, such as the IoU of a class, a share titled by its key."""
    return METRICS.get(key) or MetricInfo(key)


def format_metric(key: str, value: float | None, *, percent: bool = True) -> str:
    """Format a value with the unit of its metric: "63.0 %", "0.865 m", "0.250", "7680000"; "absent" for None or NaN.

    Args:
        key: of the metric, in :data:`METRICS`; an unknown one is a share.
        value: shares in 0 .. 1.
        percent: False: shares as fractions, and all values but counts with four decimals: "0.6301", "0.8653 m".
    """
    if value is None or math.isnan(value):
        return "absent"
    unit = metric_info(key).unit
    if unit == "count":
        return f"{value:.0f}"
    if unit == "share" and percent:
        return f"{100 * value:.1f} %"
    return f"{value:.{3 if percent else 4}f}" + (" m" if unit == "m" else "")


def headline_key(metrics: Mapping[str, Any]) -> str | None:
    """Return the key of the metric that summarizes a set of weights; None if none of them was measured."""
    return next((key for key in HEADLINES if key in metrics), None)


def headline_metrics(scores: Mapping[str, Any]) -> dict[str, Any]:
    """Return those scores of an evaluation that are kept with weights: the headlines, and the IoU of each class."""
    kept = {key: scores[key] for key in HEADLINES if scores.get(key) is not None}
    if "iou" in scores:
        kept["iou"] = [None if value is None or math.isnan(value) else value for value in scores["iou"]]
    return kept


def headline(metrics: Mapping[str, Any]) -> str:
    """Summarize the metrics of a manifest entry: "mIoU 63.0 % on CamVid val", or "not measured"."""
    key = headline_key(metrics)
    return (
        f"{METRICS[key].title} {format_metric(key, metrics[key])} on {metrics['protocol']}" if key else "not measured"
    )
