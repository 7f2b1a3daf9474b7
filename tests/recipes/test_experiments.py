import dataclasses

import pytest

from gatezoo.recipes.experiments import experiments, find_experiment, format_metrics
from gatezoo.recipes.recipe import Recipe
from gatezoo.registry import get_model_spec

EXPERIMENTS = experiments()


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_an_experiment_names_a_model_and_tells_what_the_paper_got(name):
    experiment = EXPERIMENTS[name]
    row = get_model_spec(experiment.model)
    row.merge(experiment.model_kwargs)
    assert name.startswith(f"{experiment.model}.")
    assert experiment.paper_results
    assert all(0 < value < 100 for value in experiment.paper_results.values())
    assert set(experiment.assumed) <= {field.name for field in dataclasses.fields(Recipe)}


def test_figures_are_told_by_their_usual_names_and_those_of_each_seed_side_by_side():
    assert format_metrics({"miou": 50, "pixel_accuracy": [89.04, 88.2], "pole": 1.5}) == (
        "mIoU 50.0; pixel accuracy 89.0, 88.2; pole 1.5"
    )
    measured = [experiment.results for experiment in EXPERIMENTS.values() if experiment.results]
    assert all(0 < value < 100 for figures in measured for seeds in figures.values() for value in seeds)


def test_rivals_of_a_table_are_trained_alike():
    tables = {(experiment.paper, experiment.source) for experiment in EXPERIMENTS.values()}
    for table in tables:
        recipes = {e.recipe for e in EXPERIMENTS.values() if (e.paper, e.source) == table}
        assert len(recipes) == 1, table


def test_refusals():
    with pytest.raises(ValueError, match=r"no recipe 'dignet_resnet101_8s\.voc'\. Did you mean dignet_resnet101"):
        find_experiment("dignet_resnet101_8s.voc")
    with pytest.raises(ValueError, match=r"got 'lr_rate'"):
        Recipe.from_dict({"lr_rate": 1})
    with pytest.raises(ValueError, match="sched must be one of poly, cosine; got 'step'"):
        Recipe(sched="step")
    with pytest.raises(ValueError, match="steps must be at least 1; got 0"):
        Recipe(steps=0)
