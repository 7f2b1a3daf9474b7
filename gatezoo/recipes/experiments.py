"""Read experiments from ``*.yaml`` beside this file, one file for each table of a paper.

A file contains the paper, the table, the data set, the recipe, the protocol of the evaluation, and the names of the
fields that the paper does not give (``assumed``: chosen here). Fields of the recipe that a paper's file does not give
are off (:mod:`gatezoo.recipes.neutral`), not the defaults of ``gatezoo train``. Each experiment adds a model, keywords
of its builder, the paper's scores as ``paper_results``, and ``results``, which is null until it was measured.

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
from ..utils.choices import check_choice, check_fields, suggest
from ..utils.keyword_types import check_keyword
from ..utils.text import shorten
from .neutral import neutral_recipe
from .protocol import EvalProtocol
from .recipe import Recipe
from .yaml_files import load_yaml

# What an experiment may start from, beside the weights of another one.
INITIAL_WEIGHTS = ("imagenet", "random", "coco")
# What may be assumed.
ASSUMABLE = ("initial_weights", *(field.name for kind in (Recipe, EvalProtocol) for field in dataclasses.fields(kind)))


@dataclass(frozen=True)
class Stage:
    """One of several trainings in a row, each of which starts from the weights of the one before.

    Attributes:
        name: of its folder.
        model_kwargs: keywords of the model's builder, in place of the experiment's.
        recipe: the experiment's, with the fields that the stage changes.
        initial_weights: empty to start from the stage before, the first from the experiment's; "imagenet" or "random"
            to start anew, as an experiment does.
    """

    name: str
    model_kwargs: dict[str, Any]
    recipe: Recipe
    initial_weights: str = ""


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
        test_split: another split that the paper's scores may be of; empty for none.
        recipe: how the model is trained.
        paper: title of the paper; empty for an experiment of the zoo.
        model_kwargs: keywords of the model's builder.
        data: options of the reader.
        stages: trained one after the other; empty for a single training.
        initial_weights: that the training starts from: "imagenet", the backbone's ImageNet weights, the default of a
            paper's experiment; "random"; "coco", weights trained on COCO's classes; or the name of another experiment,
            for its last ones of the same seed. Empty: those that the command gives, if any.
        protocol: how the trained network is evaluated.
        assumed: fields of recipe and protocol, or "initial_weights", that were chosen here as the paper gives none.
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
    test_split: str = ""
    model_kwargs: dict[str, Any] = field(default_factory=dict)
    data: dict[str, Any] = field(default_factory=dict)
    stages: tuple[Stage, ...] = ()
    initial_weights: str = ""
    protocol: EvalProtocol = field(default_factory=EvalProtocol)
    assumed: tuple[str, ...] = ()
    paper_results: dict[str, float] = field(default_factory=dict)
    results: dict[str, list[float]] | None = None

    @property
    def start(self) -> str:
        """Name of the experiment from whose last weights the training starts; empty for none."""
        return "" if self.initial_weights in INITIAL_WEIGHTS else self.initial_weights


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
        shared = dict(_mapping("the file", load_yaml(path)))
        rows = _mapping("experiments", shared.pop("experiments", None))
        shared.pop("tables", None)
        return {name: _experiment(name, _row_values(name, shared, row)) for name, row in rows.items()}
    except (ValueError, RecursionError, OSError) as error:
        raise ValueError(f"{path.name} must be a file of experiments; it is not: {error}") from None


def _row_values(name: str, shared: Mapping[str, Any], row: Any) -> dict[str, Any]:
    """Return the fields of an experiment: its own, and those of the file; recipe and protocol are joined."""
    row = _mapping(f"experiment {name!r}", row)
    parts = {
        part: {key: value for fields in (shared, row) for key, value in _mapping(part, fields.get(part, {})).items()}
        for part in ("recipe", "protocol")
    }
    return {**shared, **row, **parts}


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
    _refuse_none(what, fields.get("model_kwargs", {}))
    fields.setdefault("initial_weights", "imagenet" if fields.get("paper") else "")
    for assumed in fields.get("assumed", ()):
        check_choice(f"assumed of {what}", assumed, ASSUMABLE)
    recipe = _recipe(what, fields["recipe"], bool(fields.get("paper")))
    parts = tuple(_stage(what, _mapping(f"a stage of {what}", stage), fields) for stage in stages)
    protocol = EvalProtocol.from_dict(_check_values(f"the protocol of {what}", fields["protocol"], EvalProtocol))
    return Experiment(name=name, **{**fields, "recipe": recipe, "stages": parts, "protocol": protocol})


def _recipe(what: str, values: Mapping[str, Any], has_paper: bool) -> Recipe:
    fields = _check_values(f"the recipe of {what}", values, Recipe)
    return Recipe.from_dict(neutral_recipe(fields) if has_paper else fields)


def _stage(what: str, stage: Mapping[str, Any], experiment: Mapping[str, Any]) -> Stage:
    what = f"a stage of {what}"
    _check_values(what, stage, Stage)
    if "name" not in stage:
        raise ValueError(f"{what} must have a name; it has {', '.join(stage) or 'no field'}: add it")
    values = {**experiment["recipe"], **_mapping("recipe", stage.get("recipe", {}))}
    recipe = _recipe(what, values, bool(experiment.get("paper")))
    model_kwargs = stage.get("model_kwargs", experiment.get("model_kwargs", {}))
    _refuse_none(what, model_kwargs)
    if start := stage.get("initial_weights", ""):
        check_choice(f"initial_weights of {what}", start, ("imagenet", "random"))
    return Stage(stage["name"], model_kwargs, recipe, start)


def _refuse_none(what: str, model_kwargs: Mapping[str, Any]) -> None:
    """Refuse keywords without a value: for most of them that is no choice but a slip, and it counts as not given."""
    for name, value in model_kwargs.items():
        if value is None:
            raise ValueError(f"model_kwargs of {what} must have values; got {name}: null: write its value")


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


def find_start(name: str, experiment: Experiment) -> Experiment:
    """Return the experiment from whose weights another one starts.

    Args:
        name: of the other one, as :func:`find_experiment` takes it; one of a file starts from one of the same file, or
            from one of the package.
        experiment: the other one.

    Raises:
        ValueError: there is none of that name.
    """
    path = name.rpartition(":")[0]
    if path.endswith(".yaml") and experiment.start in read_experiments(Path(path)):
        return find_experiment(f"{path}:{experiment.start}")
    return find_experiment(experiment.start)
