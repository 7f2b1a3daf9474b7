"""The papers' experiments and the fields of a recipe."""

import dataclasses
import inspect

import pytest

from gatezoo.data import DATASETS, dataset_for_task
from gatezoo.model_info import on_meta
from gatezoo.recipes.experiments import experiments, find_experiment, format_metrics
from gatezoo.recipes.recipe import Recipe
from gatezoo.registry import get_model_spec

EXPERIMENTS = experiments()


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_experiment_has_a_model_and_the_results_of_the_paper(name):
    experiment = EXPERIMENTS[name]
    spec = get_model_spec(experiment.model)
    spec.merge(experiment.model_kwargs)
    assert name.startswith(f"{experiment.model}.")
    assert experiment.paper_results
    assert all(0 < value < 100 for value in experiment.paper_results.values())
    assert set(experiment.assumed) <= {field.name for field in dataclasses.fields(Recipe)}


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_experiment_builds_its_networks_and_opens_its_data(name):
    """On the smallest backbone, without memory for the weights; tests/training/test_launch.py trains some of them."""
    experiment = EXPERIMENTS[name]
    for part in (experiment, *experiment.stages):
        model = on_meta(experiment.model, **{**part.model_kwargs, "backbone": "test_resnet"})
        assert model.task == get_model_spec(experiment.model).task
        assert part.recipe.steps > 0
    reader = inspect.signature(DATASETS[dataset_for_task(experiment.dataset, model.task)])
    assert experiment.data.keys() <= reader.parameters.keys()


def test_metrics_are_formatted_with_titles_and_one_value_per_seed():
    assert format_metrics({"miou": 50, "pixel_accuracy": [89.04, 88.2], "pole": 1.5}) == (
        "mIoU 50.0; pixel accuracy 89.0, 88.2; pole 1.5"
    )
    results = [experiment.results for experiment in EXPERIMENTS.values() if experiment.results]
    assert all(0 < value < 100 for scores in results for seeds in scores.values() for value in seeds)


def test_experiments_of_a_table_share_a_recipe():
    tables = {(experiment.paper, experiment.source) for experiment in EXPERIMENTS.values()}
    for table in tables:
        recipes = {e.recipe for e in EXPERIMENTS.values() if (e.paper, e.source) == table}
        assert len(recipes) == 1, table


def test_recipe_refuses_unknown_names_and_values():
    with pytest.raises(ValueError, match=r"got 'dignet_resnet101_8s\.voc'\. Did you mean dignet_resnet101"):
        find_experiment("dignet_resnet101_8s.voc")
    with pytest.raises(ValueError, match=r"fields of a recipe must be one of steps, .*; got 'lr_rate'"):
        Recipe.from_dict({"lr_rate": 1})
    with pytest.raises(ValueError, match="sched must be one of poly, cosine; got 'step'"):
        Recipe(sched="step")
    with pytest.raises(ValueError, match="steps must be at least 1; got 0"):
        Recipe(steps=0)
