import dataclasses

import pytest

from gatezoo.recipes.experiments import experiments, figures_told, find_experiment
from gatezoo.recipes.recipe import Recipe
from gatezoo.registry import find_row

EXPERIMENTS = experiments()


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_an_experiment_names_a_model_and_tells_what_the_paper_got(name):
    experiment = EXPERIMENTS[name]
    row = find_row(experiment.model)
    row.merge(experiment.keywords)
    assert name.startswith(f"{experiment.model}.")
    assert experiment.reference
    assert all(0 < value < 100 for value in experiment.reference.values())
    assert set(experiment.unsaid) <= {field.name for field in dataclasses.fields(Recipe)}


def test_figures_are_told_by_their_usual_names_and_those_of_each_seed_side_by_side():
    assert figures_told({"miou": 50, "pixel_accuracy": [89.04, 88.2], "pole": 1.5}) == (
        "mIoU 50.0; pixel accuracy 89.0, 88.2; pole 1.5"
    )
    measured = [experiment.measured for experiment in EXPERIMENTS.values() if experiment.measured]
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
