"""Evaluate a network on images that are corrupted."""

from __future__ import annotations

import copy
import csv
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

from ..data.corruptions import CORRUPTIONS, SEVERITIES, Corruption
from ..metrics import Scores
from ..metrics.names import format_metric, headline_key, metric_info
from ..utils.files import atomic_write
from .result import Evaluation
from .samples import LabeledData


def evaluate_corruptions(
    evaluate: Callable[[LabeledData], Evaluation], data: Any, names: Sequence[str] = tuple(CORRUPTIONS)
) -> dict[str, list[Scores]]:
    """Evaluate on every corruption of the images, at each severity.

    Args:
        evaluate: function of a data set, such as ``functools.partial(gatezoo.evaluate, model)``.
        data: data set of the package, or another whose attribute ``transform`` changes a sample; it must be None.
        names: keys of :data:`~gatezoo.data.corruptions.CORRUPTIONS`.

    Returns:
        Scores by name of the corruption, one for each severity.

    Raises:
        ValueError: unknown names, data that cannot be transformed or have a transform, and what ``evaluate`` raises.
    """
    if getattr(data, "transform", "missing") is not None:
        raise ValueError(
            f"data to corrupt must have an attribute transform that is None; got {type(data).__name__}: use a data set "
            "of gatezoo.data without a transform"
        )
    corruptions = {name: [Corruption(name, severity) for severity in SEVERITIES] for name in names}
    return {name: [evaluate(_transformed(data, one)).scores for one in row] for name, row in corruptions.items()}


def _transformed(data: Any, transform: Corruption) -> LabeledData:
    changed = copy.copy(data)
    changed.transform = transform
    return changed


def corruption_table(clean: Mapping[str, Any], corrupted: Mapping[str, Sequence[Mapping[str, Any]]]) -> Table:
    """Make a table of the main score: a row for each corruption, a column for each severity, and means."""
    key = _main_score(clean)
    table = Table(metric_info(key).title, box=None, pad_edge=False)
    for title in (*(f"severity {severity}" for severity in SEVERITIES), "mean"):
        table.add_column(title, justify="right")
    rows = {name: [scores[key] for scores in row] for name, row in corrupted.items()}
    rows["mean"] = [sum(column) / len(column) for column in zip(*rows.values())]
    table.add_row("none", format_metric(key, clean[key], percent=False))
    for name, row in rows.items():
        table.add_row(name, *(format_metric(key, value, percent=False) for value in (*row, sum(row) / len(row))))
    return table


def write_corruptions(
    file: Path, clean: Mapping[str, Any], corrupted: Mapping[str, Sequence[Mapping[str, Any]]]
) -> None:
    """Write the main score of each corruption and severity as CSV; that without a corruption is severity 0."""
    key = _main_score(clean)
    rows = [("none", 0, clean[key])]
    rows += [(name, severity, scores[key]) for name, row in corrupted.items() for severity, scores in enumerate(row, 1)]

    def write(part: Path) -> None:
        with part.open("w", newline="") as stream:
            csv.writer(stream).writerows([("corruption", "severity", key), *rows])

    atomic_write(file, write)


def _main_score(scores: Mapping[str, Any]) -> str:
    key = headline_key(scores)
    assert key is not None
    return key
