"""``gatezoo recipes``."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from ..recipes.experiments import Experiment

# What fields mean that are not set.
_UNSET = {
    **dict.fromkeys(("mean", "std"), "that of the initial weights"),
    "iterations": "the network's own",
}


def recipes(
    name: Annotated[str | None, typer.Argument(help="Print everything about this experiment.")] = None,
) -> None:
    """List the experiments with the published and the measured scores, or print one of them."""
    from ..recipes.experiments import experiments, find_experiment, format_metrics

    if name is not None:
        for line in _lines_of(find_experiment(name)):
            print(line)
        return
    for experiment in experiments().values():
        if not experiment.paper:
            print(f"{experiment.name:45} {experiment.source}; here: results.csv")
            continue
        measured = format_metrics(experiment.results) if experiment.results else "not measured"
        paper = format_metrics(experiment.paper_results)
        print(f"{experiment.name:45} {experiment.source}; paper: {paper}; here: {measured}")


def _lines_of(experiment: Experiment) -> Iterator[str]:
    """Yield a line for each field of an experiment, its recipe and its protocol, with those marked that are assumed.

    A stage has the fields in which its recipe differs.
    """
    from ..recipes.experiments import format_metrics

    recipe = dataclasses.asdict(experiment.recipe)
    for field in dataclasses.fields(experiment):
        value, name = getattr(experiment, field.name), field.name.replace("_", " ")
        if field.name in ("recipe", "protocol"):
            for key, entry in dataclasses.asdict(value).items():
                mark = " (assumed)" if key in experiment.assumed else ""
                yield _line(f"{field.name}.{key}", (_UNSET.get(key, "none") if entry is None else _text(entry)) + mark)
        elif field.name == "stages":
            for number, stage in enumerate(value, start=1):
                changes = {key: own for key, own in dataclasses.asdict(stage.recipe).items() if own != recipe[key]}
                text = f"{stage.name}; {_text(stage.model_kwargs)}; recipe: {_text(changes)}"
                yield _line(f"stage {number}", text + (f"; from {stage.initial_weights}" * bool(stage.initial_weights)))
        elif field.name in ("paper_results", "results"):
            yield _line(name, format_metrics(value) if value else "not measured")
        elif field.name == "assumed":
            yield _line(name, f"{_text(value)} (not given in the paper)" if value else "nothing")
        elif field.name == "initial_weights":
            mark = " (assumed)" if field.name in experiment.assumed else ""
            yield _line(name, (value or "those that the command gives") + mark)
        else:
            yield _line(name, _text(value))


def _line(title: str, text: str) -> str:
    return f"{title:30} {text}"


def _text(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key}={entry!r}" for key, entry in value.items()) or "none"
    if isinstance(value, tuple | list):
        return ", ".join(map(str, value)) or "none"
    return "none" if value in (None, "") else str(value)
