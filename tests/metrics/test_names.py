"""Titles and units of metrics."""

import dataclasses
import math
import subprocess
import sys
import warnings

import pytest
import torch

from gatezoo.metrics import (
    BoundaryMetric,
    CalibrationMetric,
    DepthResult,
    InstanceMetric,
    InstanceWeightedMetric,
    SegmentationMetric,
)
from gatezoo.metrics.names import HEADLINES, METRICS, format_metric, headline, headline_key, metric_info


@pytest.mark.parametrize(
    ("key", "value", "text", "fraction"),
    [
        ("miou", 0.63014, "63.0 %", "0.6301"),
        ("mask_ap", 1.0, "100.0 %", "1.0000"),
        ("sign", 0.25, "25.0 %", "0.2500"),  # the IoU of a class
        ("rmse", 0.8653, "0.865 m", "0.8653 m"),
        ("abs_rel", 0.24962, "0.250", "0.2496"),
        ("pixels", 7680000, "7680000", "7680000"),
        ("absent", 3.0, "3", "3"),
        ("miou", None, "absent", "absent"),
        ("rmse", math.nan, "absent", "absent"),
    ],
)
def test_format_metric_uses_the_unit_of_the_metric(key, value, text, fraction):
    assert format_metric(key, value) == text
    assert format_metric(key, value, percent=False) == fraction


def test_every_metric_of_an_evaluation_is_in_the_table():
    metrics = [BoundaryMetric(), CalibrationMetric(), InstanceWeightedMetric(), SegmentationMetric()]
    instances = InstanceMetric().start(2)
    nothing = {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.long), "masks": torch.zeros(0, 4, 4)}
    instances.update(nothing | {"scores": torch.zeros(0)}, nothing)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torchmetrics: computed before an update
        keys = {key for metric in metrics for key in metric.start(2).compute()} | instances.compute().keys()
    keys |= {field.name for field in dataclasses.fields(DepthResult)}
    assert {key for key in keys if not key.endswith("_by_class")} - {"calibration"} <= METRICS.keys()
    titles = [info.title for info in METRICS.values()]
    assert len(set(titles)) == len(titles)


def test_headline_is_the_first_metric_that_was_measured():
    metrics = {"pixels": 9, "pixel_accuracy": 0.8961, "miou": 0.6301, "protocol": "CamVid val"}
    assert headline_key(metrics) == "miou"
    assert headline(metrics) == "mIoU 63.0 % on CamVid val"
    assert headline({"box_ap": 0.4066, "mask_ap": 0.3961, "protocol": "nuclei"}) == "mask AP 39.6 % on nuclei"
    assert headline_key({"rmse": 0.8}) is None
    assert headline({}) == "not measured"
    assert list(HEADLINES)[:3] == ["miou", "pixel_accuracy", "mean_accuracy"]
    assert metric_info("pole").title == "pole"


def test_names_import_no_torch():
    code = "import sys, gatezoo.metrics.names; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
