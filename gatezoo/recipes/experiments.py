"""Read experiments from ``*.yaml`` beside this file, one file for each table of a paper.

A file contains the paper, the table, the data set, the recipe, and the fields of the recipe that the paper does not
give (``assumed``: chosen here). Each experiment adds a model, keywords of its builder, the paper's scores as
``paper_results``, and ``results``, which is null until it was measured.

The zoo's own experiments, ``zoo_*.yaml``, have no paper. Their ``tables`` say which rows are compared over which seeds;
``tools/train_zoo.py`` reads them, and keeps the scores in ``results.csv``.
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
from ..utils.keyword_types import check_keyword
from ..utils.text import shorten
from .recipe import Recipe

# Bytes of a file of experiments, and values in it.
MAX_BYTES, MAX_VALUES = 1 << 20, 100_000


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
    """A row of a table: model, data set, recipe and results.

    Attributes:
        name: MODEL.DATASET, with a suffix where a table varies a keyword.
        source: the table.
        model: a model of the registry.
        dataset: a reader of :mod:`gatezoo.data`.
        train_split: split to train on.
        val_split: split to evaluate on.
        recipe: how the model is trained.
        paper: title of the paper; empty for an experiment of the zoo.
        model_kwargs: keywords of the model's builder.
        data: options of the reader.
        stages: trained one after the other; empty for a single training.
        start: experiment from whose last weights, of the same seed, the training starts; empty for none.
        eval_iterations: passes of an unrolled network that the zoo's tables show; default: the network's own number.
        scales: of the paper's evaluation.
        flip: whether the paper's evaluation averages over horizontal flips.
        assumed: fields of the recipe that the paper does not give.
        paper_results: the paper's scores, in percent.
        results: our scores, as a list with one value for each seed from 0; None until measured.
    """

    name: str
    source: str
    model: str
    dataset: str
    train_split: str
    val_split: str
    recipe: Recipe
    paper: str = ""
    model_kwargs: dict[str, Any] = field(default_factory=dict)
    data: dict[str, Any] = field(default_factory=dict)
    stages: tuple[Stage, ...] = ()
    start: str = ""
    eval_iterations: int | None = None
    scales: tuple[float, ...] = (1.0,)
    flip: bool = False
    assumed: tuple[str, ...] = ()
    paper_results: dict[str, float] = field(default_factory=dict)
    results: dict[str, list[float]] | None = None


@functools.cache
def experiments() -> dict[str, Experiment]:
    """Return all experiments by name, in the order of the files."""
    found: dict[str, Experiment] = {}
    for path in sorted(Path(__file__).parent.glob("*.yaml")):
        for name, experiment in read_experiments(path).items():
            if name in found:
                raise ValueError(f"names of experiments must be unique; {path.name} repeats {name!r}: rename it")
            found[name] = experiment
    return found


def read_experiments(path: Path) -> dict[str, Experiment]:
    """Return the experiments of a file by name.

    Raises:
        ValueError: a file that is not YAML, or a missing, unknown, repeated or mistyped field.
    """
    try:
        shared = dict(_mapping("the file", _load_yaml(path)))
        rows = _mapping("experiments", shared.pop("experiments", None))
        recipe = _mapping("recipe", shared.pop("recipe", {}))
        shared.pop("tables", None)
        found = {}
        for name, row in rows.items():
            row = _mapping(f"experiment {name!r}", row)
            values = {**shared, **row, "recipe": {**recipe, **_mapping("recipe", row.get("recipe", {}))}}
            found[name] = _experiment(name, values)
        return found
    except (ValueError, RecursionError, OSError) as error:
        raise ValueError(f"{path.name} must be a file of experiments; it is not: {error}") from None


def _load_yaml(path: Path) -> Any:
    """Return the content of a YAML file; unlike YAML's own reader, refuse keys that occur twice."""
    import yaml

    class Loader(yaml.SafeLoader):
        pass

    def construct_mapping(loader: yaml.SafeLoader, node: yaml.MappingNode) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value]
        if repeated := [key for key in keys if keys.count(key) > 1]:
            raise ValueError(f"keys must be unique; {repeated[0]!r} occurs twice: remove one")
        return loader.construct_mapping(node, deep=True)

    Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, construct_mapping)
    if path.stat().st_size > MAX_BYTES:
        raise ValueError(f"it must have at most {MAX_BYTES} bytes; it has {path.stat().st_size}")
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), Loader)
    except yaml.YAMLError as error:
        raise ValueError(f"it must be YAML: {' '.join(str(error).split())}") from None
    _check_count(content, [0])
    return content


def _check_count(value: Any, count: list[int]) -> None:
    """Refuse a tree that aliases, which repeat a part of it, make too large to walk."""
    count[0] += 1
    if count[0] > MAX_VALUES:
        raise ValueError(f"it must hold at most {MAX_VALUES} values")
    for item in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        _check_count(item, count)


def _mapping(what: str, value: Any) -> Mapping[str, Any]:
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        raise ValueError(f"{what} must be a dict with names as keys; got {shorten(value)}")
    return value


def _check_values(what: str, values: Mapping[str, Any], kind: type) -> dict[str, Any]:
    """Return the values of fields of a dataclass, lists as tuples; raise ValueError for an unknown field or type."""
    types = {field.name: field.type for field in dataclasses.fields(kind)}
    check_fields(what, values, types)
    for key, value in values.items():
        check_keyword(f"{key} of {what}", value, types[key])
    return {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}


def _experiment(name: str, values: Mapping[str, Any]) -> Experiment:
    what = f"experiment {name!r}"
    fields = _check_values(what, values, Experiment)
    missing = [
        item.name
        for item in dataclasses.fields(Experiment)
        if item.default is item.default_factory is dataclasses.MISSING and item.name not in (*fields, "name")
    ]
    if missing or "name" in fields:
        raise ValueError(f"{what} must have the fields {', '.join(missing)}, and no name beside its key: add them")
    stages = fields.get("stages", ())
    if not isinstance(stages, tuple):
        raise ValueError(f"stages of {what} must be a list; got {shorten(stages)}")
    recipe = _recipe(what, fields["recipe"])
    parts = tuple(_stage(what, _mapping(f"a stage of {what}", stage), fields) for stage in stages)
    return Experiment(name=name, **{**fields, "recipe": recipe, "stages": parts})


def _recipe(what: str, values: Mapping[str, Any]) -> Recipe:
    return Recipe.from_dict(_check_values(f"the recipe of {what}", values, Recipe))


def _stage(what: str, stage: Mapping[str, Any], experiment: Mapping[str, Any]) -> Stage:
    what = f"a stage of {what}"
    _check_values(what, stage, Stage)
    if "name" not in stage:
        raise ValueError(f"{what} must have a name; it has {', '.join(stage) or 'no field'}: add it")
    recipe = _recipe(what, {**experiment["recipe"], **_mapping("recipe", stage.get("recipe", {}))})
    return Stage(stage["name"], stage.get("model_kwargs", experiment.get("model_kwargs", {})), recipe)


def format_metrics(metrics: Mapping[str, float | Sequence[float]]) -> str:
    """Format an experiment's scores: 'mIoU 50.1, 51.2; pixel accuracy 89.0'."""

    def text(value: float | Sequence[float]) -> str:
        return f"{value:.1f}" if isinstance(value, float | int) else ", ".join(f"{seed:.1f}" for seed in value)

    return "; ".join(f"{metric_info(key).title} {text(value)}" for key, value in metrics.items())


def find_experiment(name: str) -> Experiment:
    """Return an experiment by name, or one of another file as FILE.yaml:NAME.

    Raises:
        ValueError: there is none of that name; the message suggests similar ones.
    """
    path, _, own_name = name.rpartition(":")
    if path.endswith(".yaml"):
        known, name = read_experiments(Path(path)), own_name
    else:
        known = experiments()
    if name not in known:
        hint = suggest(name, known) or ": 'gatezoo recipes' lists all"
        raise ValueError(f"recipe must be the name of an experiment; got {name!r}{hint}")
    return known[name]
