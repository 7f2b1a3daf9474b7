"""Read the papers' experiments from ``*.yaml`` beside this file, one file for each table.

A file contains the paper, the table, the data set, the recipe, and the fields of the recipe that the paper does not
give (``assumed``: chosen here). Each experiment adds a model, keywords of its builder, the paper's scores as
``paper_results``, and ``results``, which is null until it was measured.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..metrics.names import metric_info
from ..utils.choices import check_fields, suggest
from .recipe import Recipe


@dataclass(frozen=True)
class Stage:
    """One of several trainings in a row, each of which starts from the weights of the one before.

    Attributes:
        name: of its folder.
        model_kwargs: keywords of the model's builder, in place of the experiment's.
        recipe: the experiment's, with the fields that the stage changes.
    """

    name: str
    model_kwargs: dict[str, Any]
    recipe: Recipe


@dataclass(frozen=True)
class Experiment:
    """A row of a paper's table: model, data set, recipe and results.

    Attributes:
        name: MODEL.DATASET, with a suffix where a table varies a keyword.
        paper: title of the paper.
        source: its table.
        model: a model of the registry.
        dataset: a reader of :mod:`gatezoo.data`.
        train_split: split to train on.
        val_split: split to evaluate on.
        recipe: how the model is trained.
        model_kwargs: keywords of the model's builder.
        data: options of the reader.
        stages: trained one after the other; empty for a single training.
        scales: of the paper's evaluation.
        flip: whether the paper's evaluation averages over horizontal flips.
        assumed: fields of the recipe that the paper does not give.
        paper_results: the paper's scores, in percent.
        results: our scores, as a list with one value for each seed from 0; None until measured.
    """

    name: str
    paper: str
    source: str
    model: str
    dataset: str
    train_split: str
    val_split: str
    recipe: Recipe
    model_kwargs: dict[str, Any] = field(default_factory=dict)
    data: dict[str, Any] = field(default_factory=dict)
    stages: tuple[Stage, ...] = ()
    scales: tuple[float, ...] = (1.0,)
    flip: bool = False
    assumed: tuple[str, ...] = ()
    paper_results: dict[str, float] = field(default_factory=dict)
    results: dict[str, list[float]] | None = None


@functools.cache
def experiments() -> dict[str, Experiment]:
    """Return all experiments by name, in the order of the files."""
    import yaml

    found: dict[str, Experiment] = {}
    for path in sorted(Path(__file__).parent.glob("*.yaml")):
        shared = yaml.safe_load(path.read_text(encoding="utf-8"))
        for name, row in shared.pop("experiments").items():
            if name in found:
                raise ValueError(f"names of experiments must be unique; {path.name} repeats {name!r}: rename it")
            found[name] = _experiment(name, {**shared, **row, "recipe": shared["recipe"] | row.get("recipe", {})})
    return found


def _experiment(name: str, values: Mapping[str, Any]) -> Experiment:
    fields: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}
    check_fields(f"experiment {name!r}", fields, (item.name for item in dataclasses.fields(Experiment)))
    stages = tuple(_stage(name, stage, fields) for stage in fields.get("stages", ()))
    return Experiment(name=name, **{**fields, "recipe": Recipe.from_dict(fields["recipe"]), "stages": stages})


def _stage(name: str, stage: Mapping[str, Any], experiment: Mapping[str, Any]) -> Stage:
    check_fields(f"a stage of {name!r}", stage, ("name", "model_kwargs", "recipe"))
    if "name" not in stage:
        raise ValueError(f"a stage must have a name; one of {name!r} has {', '.join(stage) or 'no field'}: add it")
    recipe = Recipe.from_dict({**experiment["recipe"], **stage.get("recipe", {})})
    return Stage(stage["name"], stage.get("model_kwargs", experiment.get("model_kwargs", {})), recipe)


def format_metrics(metrics: Mapping[str, float | Sequence[float]]) -> str:
    """Format an experiment's scores: 'mIoU 50.1, 51.2; pixel accuracy 89.0'."""

    def text(value: float | Sequence[float]) -> str:
        return f"{value:.1f}" if isinstance(value, float | int) else ", ".join(f"{seed:.1f}" for seed in value)

    return "; ".join(f"{metric_info(key).title} {text(value)}" for key, value in metrics.items())


def find_experiment(name: str) -> Experiment:
    """Return an experiment by name.

    Raises:
        ValueError: there is none of that name; the message suggests similar ones.
    """
    known = experiments()
    if name not in known:
        hint = suggest(name, known) or ": 'gatezoo recipes' lists all"
        raise ValueError(f"recipe must be the name of an experiment; got {name!r}{hint}")
    return known[name]
