"""Evaluate a network as an experiment says, and compare its scores with the paper's."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.table import Table

from ..metrics import DepthResult
from ..metrics.names import metric_info
from ..recipes.experiments import Experiment
from ..recipes.protocol import EvalProtocol
from ..registry import get_model_spec
from ..segmenters.base import BaseSegmenter
from ..utils.text import shorten


@dataclass(frozen=True)
class EvalSetting:
    """What a network is evaluated on, and how.

    Attributes:
        dataset: a reader of :mod:`gatezoo.data`.
        split: of the data set; None for the reader's default.
        data_options: keywords of the reader.
        protocol: what is done with each image.
        changed: what is not as the experiment says, for the title of the comparison.
    """

    dataset: str
    split: str | None
    data_options: dict[str, Any]
    protocol: EvalProtocol
    changed: Sequence[str] = ()


def experiment_setting(
    experiment: Experiment,
    dataset: str | None,
    split: str | None,
    data_options: Mapping[str, Any],
    protocol: Mapping[str, Any],
) -> EvalSetting:
    """Return how an experiment is evaluated, with options given beside it in place of its own.

    Args:
        experiment: gives what is not given here.
        dataset: must be the experiment's, if it is given.
        split: must be the experiment's ``val_split`` or ``test_split``, if it is given; "val" and "test" name them too.
        data_options: keywords of the reader.
        protocol: fields of the protocol.

    Raises:
        ValueError: another data set or split, or options that contradict each other.
    """
    if dataset not in (None, experiment.dataset):
        raise ValueError(
            f"dataset must be that of {experiment.name}, {experiment.dataset}; got {dataset!r}: leave it out"
        )
    splits = {"val": experiment.val_split, "test": experiment.test_split}
    known = [name for name in splits.values() if name]
    chosen = split if split in known else splits.get(split or "val")
    if not chosen:
        raise ValueError(f"split must be one of {experiment.name}, {' or '.join(known)}; got {split!r}: leave it out")
    replaced = dataclasses.replace(experiment.protocol, **protocol)
    changed = [name for name in protocol if getattr(replaced, name) != getattr(experiment.protocol, name)]
    changed += [name for name, value in data_options.items() if experiment.data.get(name) != value]
    return EvalSetting(experiment.dataset, chosen, {**experiment.data, **data_options}, replaced, changed)


def check_experiment_model(model: BaseSegmenter, experiment: Experiment, overrides: Mapping[str, Any]) -> None:
    """Check that a network is the one that an experiment trains, in its last stage if it has several.

    Args:
        model: the network, with the keywords that its checkpoint was trained with.
        experiment: the experiment.
        overrides: keywords of the model's builder that were given beside the experiment, in place of its own.

    Raises:
        ValueError: a network of another name or other keywords, or weights of another mean or standard deviation.
    """
    if model.architecture != experiment.model:
        raise ValueError(
            f"the model must be that of {experiment.name}, {experiment.model}; got {model.architecture}: "
            "choose a checkpoint of it"
        )
    last = (experiment.stages or (experiment,))[-1]
    spec = get_model_spec(experiment.model)
    expected = _plain(spec.architecture_kwargs(spec.merge(_given(last.model_kwargs) | _given(overrides))))
    found = _plain(spec.architecture_kwargs(model.model_kwargs))
    for name in sorted(expected.keys() | found.keys()):
        if (wanted := expected.get(name, "the model's own")) != (got := found.get(name, "the model's own")):
            raise ValueError(
                f"{name} of the model must be that of {experiment.name}, {shorten(wanted)}; the checkpoint has "
                f"{shorten(got)}: choose another, or pass --model-kwargs {name}=VALUE"
            )
    for name in ("mean", "std"):
        wanted, got = getattr(last.recipe, name), tuple(getattr(model.data_config, name))
        if wanted is not None and tuple(wanted) != got:
            raise ValueError(
                f"{name} of the weights must be that of {experiment.name}, {list(wanted)}; the checkpoint has "
                f"{list(got)}: choose another"
            )


def _given(model_kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Return the keywords that count as given: ``create_model`` leaves out those that are None."""
    return {name: value for name, value in model_kwargs.items() if value is not None}


def _plain(value: Any) -> Any:
    """Return nested values with lists for tuples, as a checkpoint's header has them."""
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value


@dataclass(frozen=True)
class PaperScore:
    """A score of the paper and ours.

    Attributes:
        metric: key of the metric.
        paper: the paper's value: of shares in per cent, else in the metric's unit.
        here: ours, in the same unit; None if the evaluation does not have it.
    """

    metric: str
    paper: float
    here: float | None

    @property
    def difference(self) -> float | None:
        """Ours minus the paper's, of shares in points."""
        return None if self.here is None else self.here - self.paper


def compare_with_paper(scores: Mapping[str, Any], experiment: Experiment) -> list[PaperScore]:
    """Return the scores of an evaluation beside the paper's, in the order of ``paper_results``."""
    depth = scores.get("depth")
    flat = {**(depth.to_dict() if isinstance(depth, DepthResult) else depth or {}), **scores}
    rows = []
    for metric, paper in experiment.paper_results.items():
        value = flat.get(metric)
        if value is not None and metric_info(metric).unit == "share":
            value = 100 * value
        rows.append(PaperScore(metric, float(paper), None if value is None else float(value)))
    return rows


def paper_table(rows: Sequence[PaperScore], experiment: Experiment, setting: EvalSetting) -> Table:
    """Make a table with a row for each score: metric, the paper's, ours, the difference."""
    title = f"{experiment.name}, {setting.split}: {experiment.source}"
    if setting.changed:
        title += f"; not as in the experiment: {', '.join(setting.changed)}"
    table = Table("metric", title=title, title_justify="left", box=None, pad_edge=False)
    for column in ("paper", "here", "difference"):
        table.add_column(column, justify="right")
    for row in rows:
        values = (f"{row.here:.2f}", f"{row.difference:+.2f}") if row.difference is not None else ("none", "")
        table.add_row(metric_info(row.metric).title, f"{row.paper:.2f}", *values)
    return table


def comparison_dict(rows: Sequence[PaperScore], experiment: Experiment, setting: EvalSetting) -> dict[str, Any]:
    """Return the comparison ready for JSON."""
    metrics = {row.metric: {"paper": row.paper, "here": row.here, "difference": row.difference} for row in rows}
    return {
        "name": experiment.name,
        "source": experiment.source,
        "paper": experiment.paper,
        "changed": list(setting.changed),
        "metrics": metrics,
    }
