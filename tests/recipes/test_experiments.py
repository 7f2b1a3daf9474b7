"""The papers' experiments and the fields of a recipe."""

import dataclasses
import inspect
import math
from pathlib import Path

import pytest
import yaml

from gatezoo.data import DATASETS, dataset_for_task
from gatezoo.model_info import on_meta
from gatezoo.recipes import neutral
from gatezoo.recipes.checks import LOSS_NAMES
from gatezoo.recipes.experiments import experiments, find_experiment, format_metrics, read_experiments
from gatezoo.recipes.recipe import Recipe
from gatezoo.registry import get_model_spec

EXPERIMENTS = experiments()


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_experiment_has_a_model_and_the_results_of_the_paper(name):
    experiment = EXPERIMENTS[name]
    spec = get_model_spec(experiment.model)
    spec.merge(experiment.model_kwargs)
    assert name.startswith(f"{experiment.model}.")
    assert bool(experiment.paper_results) == bool(experiment.paper)
    assert all(0 < value < 100 for value in experiment.paper_results.values())


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


# Off by hand: what a recipe does without each field.
OFF = {
    **dict.fromkeys(
        ("cat_max_ratio", "seg_loss_weight", "layer_decay", "head_lr_mult", "grad_accum_steps", "keep_every"), 1
    ),
    **dict.fromkeys(
        ("crop_schedule", "init", "late_loss", "trainable_prefix", "decay_steps", "best_metric", "components"), ""
    ),
    **dict.fromkeys(("rotate", "hflip", "color_jitter", "momentum", "weight_decay", "power", "warmup", "clip_grad"), 0),
    **dict.fromkeys(("linear_probe_steps", "iteration_loss_weight", "aux_loss_weight", "depth_loss_weight"), 0),
    **dict.fromkeys(("scale_loss_weight", "repeat_thresh", "ema_decay", "patience", "short_side"), 0),
    **dict.fromkeys(("freeze_backbone", "sync_bn"), False),
    **dict.fromkeys(("amp_dtype", "class_weights"), "none"),
    "scale_range": (1.0, 1.0),
    "frozen_layers": (),
    "opt": "momentum",  # plain SGD
    "sched": "poly",  # with a power of 0, constant
    "loss": "cross_entropy",
    "mean": None,
    "std": None,
    **dict.fromkeys(("window_size", "window_overlap", "pad_to", "iterations")),
    "scales": (1.0,),
    "flip": False,
    "merge": "",
    "depth_blur": 0.0,
}
# Without effect unless another field is set, or on what is learned.
NO_EFFECT = {"decay_share", "late_loss_start", "grad_checkpointing", "torchcompile", "deterministic", "seed"}
NO_EFFECT |= {"eval_interval", "log_interval", "checkpoint_interval"}


@pytest.mark.parametrize("path", sorted(Path(neutral.__file__).parent.glob("*.yaml")), ids=lambda p: p.stem)
def test_fields_of_a_paper_are_given_assumed_or_off(path):
    content = yaml.safe_load(path.read_text())
    if "paper" not in content:
        return
    for name, row in content["experiments"].items():
        experiment = EXPERIMENTS[name]
        given = {*content["recipe"], *content.get("protocol", {}), *row.get("recipe", {}), *row.get("protocol", {})}
        assert set(experiment.assumed) - {"initial_weights"} <= given, "what is assumed has a value in the file"
        values = dataclasses.asdict(experiment.recipe) | dataclasses.asdict(experiment.protocol)
        for key, value in values.items():
            if key != "crop_size" or not experiment.recipe.short_side:  # whole images have no crop
                assert key in given or key in NO_EFFECT or value == OFF[key], (name, key, value)


def test_defaults_of_the_package_are_not_taken_for_a_papers(tmp_path):
    """A file that gives nothing more than it must: plain SGD at one rate on crops as they are."""
    text = "{paper: a, source: b, dataset: camvid, train_split: c, val_split: d, recipe: {steps: 99, batch_size: 1%s}, "
    text += "experiments: {test_fcn.camvid: {model: test_fcn, paper_results: {miou: 1}}}}"
    path = tmp_path / "t.yaml"
    path.write_text(text % ", lr: 0.1, crop_size: 64")
    bare = read_experiments(path)["test_fcn.camvid"]
    given = {"steps": 99, "batch_size": 1, "lr": 0.1, "crop_size": 64}
    assert dataclasses.asdict(bare.recipe).items() >= given.items()
    for key, value in dataclasses.asdict(bare.recipe).items():
        assert key in given or key in NO_EFFECT or value == OFF[key], key
    assert bare.recipe.eval_interval == 4
    path.write_text(text % ", lr: 0.1")
    with pytest.raises(ValueError, match=r"the recipe of a paper must have steps, .*; crop_size is missing: add it"):
        read_experiments(path)
    path.write_text((text % ", lr: 0.1, crop_size: 64").replace("paper: a", "paper: a, assumed: [learning_rate]"))
    with pytest.raises(ValueError, match=r"assumed of .* must be one of .*; got 'learning_rate'"):
        read_experiments(path)
    path.write_text(
        (text % ", lr: 0.1, crop_size: 64").replace("paper: a, ", "").replace(", paper_results: {miou: 1}", "")
    )
    assert read_experiments(path)["test_fcn.camvid"].recipe == Recipe(**given)


def test_stages_have_the_values_of_their_experiment_unless_they_give_others(tmp_path):
    text = "{source: b, dataset: camvid, train_split: c, val_split: d, recipe: {lr: 0.1, hflip: 0}, experiments: {e: "
    text += "{model: test_fcn, recipe: {lr: 0.2}, model_kwargs: {head: fcn}, "
    text += "stages: [{name: one}, {name: two, model_kwargs: {}, recipe: {lr: 0.3}}]}}}"
    (tmp_path / "t.yaml").write_text(text)
    one, two = read_experiments(tmp_path / "t.yaml")["e"].stages
    assert (one.model_kwargs, one.recipe) == ({"head": "fcn"}, Recipe(lr=0.2, hflip=0))
    assert (two.model_kwargs, two.recipe) == ({}, Recipe(lr=0.3, hflip=0))


def test_metrics_are_formatted_with_titles_and_one_value_per_seed():
    assert format_metrics({"miou": 50, "pixel_accuracy": [89.04, 88.2], "pole": 1.5}) == (
        "mIoU 50.0; pixel accuracy 89.0, 88.2; pole 1.5"
    )
    results = [experiment.results for experiment in EXPERIMENTS.values() if experiment.results]
    assert all(0 < value < 100 for scores in results for seeds in scores.values() for value in seeds)


def test_experiments_of_a_table_share_a_recipe():
    tables = {(experiment.paper, experiment.source) for experiment in EXPERIMENTS.values()}
    for table in tables:
        recipes = {e.recipe for e in EXPERIMENTS.values() if e.paper and (e.paper, e.source) == table}
        assert len(recipes) <= 1, table


def test_recipe_refuses_unknown_names_and_values():
    with pytest.raises(ValueError, match=r"got 'dignet_resnet101_8s\.voc'\. Did you mean dignet_resnet101"):
        find_experiment("dignet_resnet101_8s.voc")
    with pytest.raises(ValueError, match=r"fields of a recipe must be one of steps, .*; got 'lr_rate'"):
        Recipe.from_dict({"lr_rate": 1})
    with pytest.raises(ValueError, match="sched must be one of poly, cosine, wsd, step; got 'steps'"):
        Recipe(sched="steps")
    with pytest.raises(ValueError, match="steps must be at least 1; got 0"):
        Recipe(steps=0)


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        (dict(lr=math.nan), "lr must be a finite number, 0 or more; got nan"),
        (dict(rotate=math.inf), r"rotate must be a finite number, in 0 \.\. 180; got inf"),
        (dict(weight_decay=-1), "weight_decay must be a finite number, 0 or more; got -1"),
        (dict(momentum=1), r"momentum must be in \[0, 1\); got 1"),
        (dict(batch_size=True), "batch_size must be a whole number; got True"),
        (dict(sync_bn="no"), "sync_bn must be True or False; got 'no'"),
        (dict(seed=2**63), r"seed must be a finite number, in 0 \.\. 9223372036854775807; got 9223372036854775808"),
        (dict(layer_decay=0), "layer_decay must be above 0; got 0"),
        (dict(loss="dise"), "loss must be one of cross_entropy, ohem, .*; got 'dise'. Did you mean dice"),
        (dict(late_loss="dice+"), "late_loss must be one of cross_entropy, .*, or several joined by .; got ''"),
        (dict(late_loss="lovasz"), "class_weights must be none for the lovasz loss alone; got sqrt: pass"),
        (dict(class_weights="enet"), "class_weights must be one of none, inverse, sqrt, median; got 'enet'"),
        (dict(best_metric="mio"), "best_metric must be one of loss, miou, .*; got 'mio'. Did you mean miou"),
        (dict(init="probe"), "init must be one of linear-probe; got 'probe'"),
        (dict(decay_steps="50"), "decay_steps are read with sched='step' alone; got sched='poly': pass"),
        (dict(late_loss="ohem", late_loss_start=1), "late_loss_start must leave steps for late_loss; got 1 of 1000"),
        (dict(steps=40, eval_interval=10, patience=3), "patience must end before the last step, 40; got 3"),
        (dict(freeze_backbone=True, init="linear-probe"), "linear_probe_steps must be left out if freeze_backbone"),
        (dict(freeze_backbone=True, layer_decay=0.5), "layer_decay must be left out if freeze_backbone is set"),
        (dict(freeze_backbone=True, trainable_prefix="backbone"), "trainable_prefix must include new layers if"),
        (dict(late_loss_start=math.nan), r"late_loss_start must be a finite number, in 0 \.\. 1; got nan"),
        (dict(clip_grad=-1), "clip_grad must be 0 or more; got -1"),
        (dict(decay_share=0), "decay_share must be above 0; got 0"),
        (dict(scale_range=(2, 0.5)), "scale_range must be two finite numbers above 0, the smaller first; got 2 0.5"),
        (dict(scale_range=(0, 1)), "scale_range must be two finite numbers above 0, the smaller first; got 0 1"),
        (dict(mean=(0.1, 0.2, 1.1)), r"mean must be numbers in 0 \.\. 1; got 0\.1 0\.2 1\.1"),
        (dict(mean=(-0.1, 0.2, 0.1)), r"mean must be numbers in 0 \.\. 1; got -0\.1"),
        (dict(std=(0.1, 0.0, 0.1)), r"std must be numbers above 0; got 0\.1 0\.0 0\.1"),
        (dict(ema_decay=1), r"ema_decay must be in \[0, 1\); got 1"),
        (dict(seg_loss_weight=0), "a training must have a loss; seg_loss_weight, .* are all 0"),
        (dict(loss=""), "loss must be one of cross_entropy, .*; got ''"),
        (dict(loss="dice"), "class_weights must be none for the dice loss alone; got sqrt: pass"),
        (dict(loss="lovasz"), "class_weights must be none for the lovasz loss alone; got sqrt: pass"),
        (dict(amp_dtype="int8"), "amp_dtype must be one of none, bf16, fp16; got 'int8'"),
        (dict(best_metric="pixels"), "best_metric must be one of loss, .*; got 'pixels'"),
        (dict(steps=40, eval_interval=10, patience=4), "patience must end before the last step, 40; got 4"),
        (dict(init="linear-probe", trainable_prefix="backbone.net"), "trainable_prefix must include new layers if lin"),
        (dict(sched="step", decay_steps="4,4"), "decay_steps must be rising numbers of steps, .*; got '4,4': pass"),
        (dict(sched="step", decay_steps="0,4"), "decay_steps must be rising numbers of steps, .*; got '0,4': pass"),
        (dict(linear_probe_steps=1000), "linear_probe_steps must be less than steps, 1000; got 1000: pass"),
        (dict(linear_probe_steps=5, trainable_prefix="backbone"), "trainable_prefix must include new layers if"),
        (dict(sched="step"), "decay_steps must be given for sched='step'; got none: pass"),
        (dict(sched="step", decay_steps="8,4"), "decay_steps must be rising numbers of steps, .*; got '8,4': pass"),
        *(
            (dict(crop_schedule=text), f"crop_schedule must be SIZE@SHARE, .*; got '{text}': pass")
            for text in ("160", "160@.5", "160@0,320@1", "160@0,0@.5", "160@0,256@.5,320@.4", "160@0,320@nan")
        ),
        (dict(crop_schedule="160@0,256@.5"), "crop_size must be the last size of crop_schedule, 256; got 320: pass"),
    ],
)
def test_recipe_refuses_numbers_out_of_range(fields, text):
    with pytest.raises(ValueError, match=text) as error:
        Recipe(**fields)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("most", "names"),
    [
        (1, ("hflip", "cat_max_ratio", "decay_share", "layer_decay", "repeat_thresh")),
        (180, ("rotate",)),
        (2**63 - 1, ("seed",)),
        (10**9, ("steps", "batch_size", "grad_accum_steps", "crop_size", "eval_interval", "log_interval")),
    ],
)
def test_recipe_takes_the_largest_value_and_no_larger_one(most, names):
    for name in names:
        assert getattr(Recipe(**{name: most}), name) == most
        with pytest.raises(ValueError, match=f"^{name} must be "):
            Recipe(**{name: most + (1 if most > 1 else 1e-6)})


@pytest.mark.parametrize(
    "fields",
    [
        dict(scale_range=(1.0, 1.0)),
        dict(mean=(0.0, 0.5, 1.0), std=(1e-3, 0.5, 2.0)),
        dict(seg_loss_weight=0, depth_loss_weight=1),
        dict(seg_loss_weight=0, scale_loss_weight=1),
        dict(loss="dice+cross_entropy", late_loss="ohem+lovasz", class_weights="inverse"),
        dict(steps=41, eval_interval=10, patience=3),
        dict(steps=10, linear_probe_steps=9),
        dict(steps=10, late_loss="ohem", late_loss_start=0.9),
        dict(steps=1, crop_schedule="64@0,32@.5", crop_size=32),
    ],
)
def test_recipe_takes_what_is_just_in_range(fields):
    assert dataclasses.asdict(Recipe(**fields)).items() >= fields.items()


def test_crop_sizes_begin_at_shares_of_the_steps():
    assert Recipe(crop_size=224).crop_sizes() == [(0, 224)]
    assert Recipe(steps=3, crop_size=32, crop_schedule="64@0,32@.5").crop_sizes()[1] == (2, 32)
    recipe = Recipe(steps=2000, crop_schedule="160@0,256@.5,320@.8")
    assert recipe.crop_sizes() == [(0, 160), (1000, 256), (1600, 320)]


def test_init_by_a_linear_probe_takes_a_tenth_of_the_steps():
    assert Recipe(steps=500).probe_steps == 0
    assert Recipe(steps=500, init="linear-probe").probe_steps == 50
    assert Recipe(steps=9, init="linear-probe").probe_steps == 1
    assert Recipe(steps=500, init="linear-probe", linear_probe_steps=7).probe_steps == 7


def test_names_of_losses_are_those_of_the_registry():
    from gatezoo.losses import LOSSES

    assert tuple(LOSSES) == LOSS_NAMES
    for name in LOSS_NAMES:
        Recipe(loss=name, class_weights="none")


def test_every_number_of_a_recipe_is_refused_when_it_is_not_one():
    for field in dataclasses.fields(Recipe):
        if type(field.default) in (int, float):
            with pytest.raises(ValueError, match=f"^{field.name} must be "):
                Recipe(**{field.name: math.nan})
            with pytest.raises(ValueError, match=f"^{field.name} must be "):
                Recipe(**{field.name: -1})
