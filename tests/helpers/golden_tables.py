"""The keywords of every model and the values of every experiment, as files that are reviewed when they change.

PYTHONPATH=tests python -m helpers.golden_tables    # write them anew
"""

from __future__ import annotations

import dataclasses
import inspect
import json
from pathlib import Path
from typing import Any

import gatezoo
from gatezoo.recipes.experiments import Experiment, experiments
from gatezoo.recipes.protocol import EvalProtocol
from gatezoo.recipes.recipe import Recipe
from gatezoo.registry import get_model_spec

from .paths import ROOT

# Fields of an experiment that are no values of its training or evaluation.
_NOT_COMPARED = ("name", "results", "recipe", "protocol", "stages")


def model_keywords() -> dict[str, Any]:
    """Return builder and resolved keywords of every model, its variant's in place of the builder's defaults."""
    table = {}
    for name in gatezoo.list_models():
        spec = get_model_spec(name)
        values = spec.parameters() | spec.merge({})
        given = {key: value for key, value in values.items() if value is not inspect.Parameter.empty}
        table[name] = {"builder": f"{spec.builder.__module__}.{spec.builder.__qualname__}", "task": spec.task, **given}
    return table


def experiment_values() -> dict[str, Any]:
    """Return what every experiment differs in from the defaults of recipe and protocol, which stand in front."""
    table: dict[str, Any] = {"defaults": dataclasses.asdict(Recipe()) | dataclasses.asdict(EvalProtocol())}
    return table | {name: _values(experiment) for name, experiment in experiments().items()}


def _values(experiment: Experiment) -> dict[str, Any]:
    fields = {field.name: getattr(experiment, field.name) for field in dataclasses.fields(experiment)}
    values = {key: value for key, value in fields.items() if key not in _NOT_COMPARED and value}
    values["recipe"] = _changes(experiment.recipe, Recipe())
    values["protocol"] = _changes(experiment.protocol, EvalProtocol())
    values["stages"] = [
        {**dataclasses.asdict(stage), "recipe": _changes(stage.recipe, experiment.recipe)}
        for stage in experiment.stages
    ]
    return {key: value for key, value in values.items() if value}


def _changes(values: Any, base: Any) -> dict[str, Any]:
    own, other = dataclasses.asdict(values), dataclasses.asdict(base)
    return {key: value for key, value in own.items() if value != other[key]}


TABLES = {"models.json": model_keywords, "experiments.json": experiment_values}


def golden_path(name: str) -> Path:
    return ROOT / "tests/golden" / name


def as_lines(table: dict[str, Any]) -> str:
    """Return a table as JSON with a line for each name, so that a difference is seen at a glance."""
    return "{\n" + ",\n".join(f"{json.dumps(name)}: {json.dumps(values)}" for name, values in table.items()) + "\n}\n"


if __name__ == "__main__":
    for name, make in TABLES.items():
        golden_path(name).write_text(as_lines(make()))
