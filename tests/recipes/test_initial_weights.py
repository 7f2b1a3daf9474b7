"""Weights that an experiment starts from: which are needed, and that they reach the network."""

import pytest
import torch
from helpers.backbones import distinct_backbone_file
from helpers.commands import run
from helpers.headers import header
from helpers.trees import DRAWERS
from safetensors.torch import load_file, save_file

import gatezoo
from gatezoo.recipes.experiments import Stage, experiments, find_experiment, find_start
from gatezoo.recipes.initial_weights import check_initial_weights
from gatezoo.recipes.recipe import Recipe
from gatezoo.training import stages
from gatezoo.training.options import ModelSource, RunOptions

# Nothing is learned: the last weights are the first ones.
FILE = """
paper: a paper
source: Table 1
dataset: camvid
train_split: train
val_split: val
recipe: {steps: 1, batch_size: 2, crop_size: 48, lr: 0.0, frozen_layers: [norm_statistics]}
experiments:
  test_fcn.camvid: {model: test_fcn, paper_results: {miou: 50}}
  test_fcn.camvid-random: {model: test_fcn, initial_weights: random, paper_results: {miou: 50}}
  test_fcn.camvid-coco: {model: test_fcn, initial_weights: coco, paper_results: {miou: 50}}
  test_dignet.camvid: {model: test_dignet, initial_weights: test_fcn.camvid, paper_results: {miou: 50}}
  test_fcn.camvid-far: {model: test_fcn, initial_weights: pspnet_r101.cityscapes, paper_results: {miou: 50}}
  test_fcn.camvid-stages:
    model: test_fcn
    stages: [{name: one}, {name: two}, {name: three, initial_weights: imagenet}, {name: four, initial_weights: random}]
    paper_results: {miou: 50}
"""


@pytest.fixture
def start(tmp_path, monkeypatch, capsys):
    """Return a function that runs a training of the file: (name, options) -> (exit code, error, folder)."""
    DRAWERS["camvid"](tmp_path / "data")
    (tmp_path / "t.yaml").write_text(FILE)
    out = tmp_path / "out"

    def train(name, *options):
        arguments = ["--recipe", f"{tmp_path}/t.yaml:{name}", "--data", tmp_path / "data", "--out", out, "-j", 0]
        code, _, err = run(monkeypatch, capsys, "train", *arguments, "--device", "cpu", *options)
        return code, err, out

    return train


@pytest.fixture
def backbone(tmp_path):
    """A file of weights of the backbone, none of which a new network would have."""
    return distinct_backbone_file(tmp_path / "backbone.safetensors")


def checkpoint(path, step=1, seed=0, name="test_fcn"):
    torch.manual_seed(3)
    model = gatezoo.create_model(name, num_classes=11)
    facts = {"recipe": {"steps": 1, "seed": seed}, "step": step, "class_names": list("abcdefghijk"), "num_classes": 11}
    save_file(model.state_dict(), path, header(name, **facts))
    return path


def test_defaults_are_imagenet_for_papers_and_what_the_command_gives_for_others(tmp_path):
    (tmp_path / "t.yaml").write_text(FILE)
    assert find_experiment(f"{tmp_path}/t.yaml:test_fcn.camvid").initial_weights == "imagenet"
    (tmp_path / "o.yaml").write_text(FILE.replace("paper: a paper\n", "").replace(", paper_results: {miou: 50}", ""))
    assert find_experiment(f"{tmp_path}/o.yaml:test_fcn.camvid").initial_weights == ""
    assert find_experiment("fcn_lite0_8s.camvid").initial_weights == "imagenet"


def test_starts_of_experiments_exist_and_have_the_same_data():
    known = experiments()
    for experiment in known.values():
        if experiment.start:
            assert find_start(experiment.name, experiment).dataset == experiment.dataset


@pytest.mark.parametrize(
    ("name", "text"),
    [
        (
            "test_fcn.camvid",
            "must be those of its backbone on ImageNet; got none: pass --pretrained-backbone timm, which downloads "
            "timm's of test_resnet, or a file of them",
        ),
        (
            "test_fcn.camvid-coco",
            "must be those of a training on COCO's classes; got none: train test_fcn on --dataset coco_semantic",
        ),
        ("test_dignet.camvid", "must be the last ones of test_fcn.camvid, of the same seed; got none: train --recipe"),
        ("test_fcn.camvid-far", "must be the last ones of pspnet_r101.cityscapes, of the same seed; got none"),
        ("test_fcn.camvid-stages", "must be those of its backbone on ImageNet; got none"),
    ],
)
def test_training_without_its_initial_weights_is_refused_in_one_line(start, name, text):
    code, err, out = start(name)
    assert (code, len(err.strip().splitlines())) == (2, 1)
    assert f"initial weights of {name} {text}" in err
    assert not out.exists()


def test_backbone_that_timm_does_not_have_comes_as_a_file():
    experiment = find_experiment("gff_deeplabv3plus_wrn38.cityscapes")
    with pytest.raises(ValueError, match="pass --pretrained-backbone FILE with weights of wider_resnet38, of"):
        check_initial_weights(experiment, False, None, False)


def test_training_of_random_weights_is_refused_with_others(start, backbone):
    code, err, _ = start("test_fcn.camvid-random", "--pretrained-backbone", backbone)
    assert code == 2
    assert "must be random ones; got --pretrained-backbone: leave it out" in err


def test_coco_weights_come_as_a_checkpoint_or_as_published_ones(tmp_path):
    (tmp_path / "t.yaml").write_text(FILE)
    experiment = find_experiment(f"{tmp_path}/t.yaml:test_fcn.camvid-coco")
    check_initial_weights(experiment, True, None, False)
    check_initial_weights(experiment, False, None, True)
    with pytest.raises(ValueError, match="on COCO's classes; got --pretrained-backbone: train"):
        check_initial_weights(experiment, False, "timm", False)
    other = find_experiment(f"{tmp_path}/t.yaml:test_dignet.camvid")
    with pytest.raises(ValueError, match=r"the last ones of test_fcn\.camvid, .*; got --pretrained: train"):
        check_initial_weights(other, True, None, False)


def test_imagenet_weights_reach_the_network(start, backbone):
    code, err, out = start("test_fcn.camvid", "--pretrained-backbone", backbone)
    assert code == 0, err
    found, expected = load_file(out / "last.safetensors"), load_file(backbone)
    assert torch.equal(found["backbone.net.layer3.0.conv1.weight"], expected["layer3.0.conv1.weight"])
    assert torch.equal(found["backbone.net.bn1.running_mean"], expected["bn1.running_mean"])


def test_weights_of_another_experiment_reach_the_network(start, tmp_path):
    path = checkpoint(tmp_path / "start.safetensors")
    code, err, out = start("test_dignet.camvid", "--initial-checkpoint", path)
    assert code == 0, err
    found, expected = load_file(out / "last.safetensors"), load_file(path)
    assert all(torch.equal(found[key], value) for key, value in expected.items() if "num_batches" not in key)


@pytest.mark.parametrize(
    ("facts", "text"),
    [
        (dict(seed=1), "must be the last one of test_fcn.camvid, its seed 0; got 1: pass last.safetensors"),
        (dict(step=0), "its step 1; got 0: pass"),
        (dict(name="test_dignet"), "its model test_fcn; got test_dignet: pass"),
    ],
)
def test_checkpoint_of_another_training_is_refused(start, tmp_path, facts, text):
    code, err, _ = start("test_dignet.camvid", "--initial-checkpoint", checkpoint(tmp_path / "s.safetensors", **facts))
    assert code == 2
    assert text in err


def test_stages_start_from_the_one_before_unless_they_start_anew(start, backbone):
    code, err, out = start("test_fcn.camvid-stages", "--pretrained-backbone", backbone)
    assert code == 0, err
    one, two, three, four = (load_file(path / "last.safetensors") for path in sorted(out.iterdir()))
    key, head = "backbone.net.layer3.0.conv1.weight", "head.weight"
    expected = load_file(backbone)["layer3.0.conv1.weight"]
    assert [torch.equal(stage[key], expected) for stage in (one, two, three, four)] == [True, True, True, False]
    assert torch.equal(one[head], two[head])


def test_every_stage_has_the_options_of_the_network(monkeypatch, tmp_path):
    trained = []
    monkeypatch.setattr(stages, "train_model", lambda source, *_: trained.append(source) or {})
    source = ModelSource("test_fcn", pretrained_backbone="timm", model_kwargs={"in_chans": 1}, freeze_bn=False)
    parts = [Stage(name, {"head": name}, Recipe(), start) for name, start in (("a", ""), ("b", ""), ("c", "imagenet"))]
    stages.train_stages(source, parts, [], [], RunOptions(tmp_path))
    assert [one.freeze_bn for one in trained] == [False] * 3
    assert [one.model_kwargs for one in trained] == [{"head": name, "in_chans": 1} for name in "abc"]
    assert [one.pretrained_backbone for one in trained] == ["timm", None, "timm"]
    assert [one.initial_checkpoint for one in trained] == [None, tmp_path / "1_a/last.safetensors", None]
