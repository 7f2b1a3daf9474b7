"""The papers' experiments as data: ``*.yaml`` beside this file, one a table, read into experiments by name.

A file tells the paper's table, the data set, how it is trained, and what the paper does not say (``assumed``: chosen
here). Each experiment adds a model, keywords of its builder, the paper's figures as ``paper_results``, and ``results``,
which stays null until somebody has measured it.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..metrics.names import HEADLINES
from .recipe import Recipe


@dataclass(frozen=True)
class Stage:
    """One of several trainings in a row, each of which starts from the weights of the one before.

    Attributes:
        name: of its folder.
        model_kwargs: of the model's builder, in place of the experiment's.
        recipe: the experiment's, with the fields that the stage tells.
    """

    name: str
    model_kwargs: dict[str, Any]
    recipe: Recipe


@dataclass(frozen=True)
class Experiment:
    """A row of a paper's table: what to train on what, and what the paper got.

    Attributes:
        name: MODEL.DATASET, with a suffix where a table varies a keyword.
        paper, source: the paper, and its table.
        model: a model of the registry; ``model_kwargs`` go to its builder.
        dataset: a reader of :mod:`gatezoo.data`, with its splits for training and validation; ``data`` are its options.
        recipe: how it is trained.
        stages: trained one after the other; empty for a single training.
        scales, flip: of the evaluation.
        assumed: fields of the recipe that the paper does not tell.
        paper_results: the paper's figures, in percent.
        results: ours, one for each seed from 0, as a list; None until measured.
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
    """All experiments by name, in the order of the files."""
    import yaml

    found: dict[str, Experiment] = {}
    for path in sorted(Path(__file__).parent.glob("*.yaml")):
        shared = yaml.safe_load(path.read_text(encoding="utf-8"))
        for name, own in shared.pop("experiments").items():
            if name in found:
                raise ValueError(f"an experiment must have a name of its own; {path.name} tells {name!r} again")
            found[name] = _experiment(name, {**shared, **own, "recipe": shared["recipe"] | own.get("recipe", {})})
    return found


def _experiment(name: str, told: Mapping[str, Any]) -> Experiment:
    told = {key: tuple(value) if isinstance(value, list) else value for key, value in told.items()}
    fields = {item.name for item in dataclasses.fields(Experiment)}
    if unknown := sorted(told.keys() - fields):
        raise ValueError(f"an experiment has the fields {', '.join(sorted(fields))}; {name!r} tells {unknown[0]!r}")
    stages = tuple(_stage(name, stage, told) for stage in told.get("stages", ()))
    return Experiment(name=name, **{**told, "recipe": Recipe.from_dict(told["recipe"]), "stages": stages})


def _stage(name: str, stage: Mapping[str, Any], told: Mapping[str, Any]) -> Stage:
    if "name" not in stage or stage.keys() - {"name", "model_kwargs", "recipe"}:
        raise ValueError(f"a stage has a name, keywords and recipe; one of {name!r} tells {', '.join(sorted(stage))}")
    recipe = Recipe.from_dict({**told["recipe"], **stage.get("recipe", {})})
    return Stage(stage["name"], stage.get("model_kwargs", told.get("model_kwargs", {})), recipe)


def format_metrics(figures: Mapping[str, float | Sequence[float]]) -> str:
    """'mIoU 50.1, 51.2; pixel accuracy 89.0', of an experiment's figures."""

    def told(value: float | Sequence[float]) -> str:
        return f"{value:.1f}" if isinstance(value, float | int) else ", ".join(f"{seed:.1f}" for seed in value)

    return "; ".join(f"{HEADLINES.get(key, key)} {told(value)}" for key, value in figures.items())


def find_experiment(name: str) -> Experiment:
    """An experiment by name. Raises ValueError for an unknown one, with near misses."""
    known = experiments()
    if name not in known:
        near = difflib.get_close_matches(name, known, n=3)
        hint = f" Did you mean {', '.join(near)}?" if near else f" There are: {', '.join(known)}."
        raise ValueError(f"there is no recipe {name!r}.{hint}")
    return known[name]
