"""``gatezoo eval --recipe``: an experiment's data, protocol and network, and the paper's scores beside ours."""

import dataclasses
import json

import pytest
import torch
from helpers.commands import run
from helpers.headers import header
from helpers.trees import DRAWERS
from safetensors.torch import save_file

import gatezoo
from gatezoo.data import create_dataset
from gatezoo.evaluation.experiment import compare_with_paper, experiment_setting
from gatezoo.inference.padding import make_inference_mode
from gatezoo.inference.predictor import Predictor
from gatezoo.recipes.experiments import find_experiment

FILE = """
paper: a paper
source: Table 1
dataset: voc12
train_split: train_aug
val_split: val
test_split: trainval
protocol: {scales: [0.75, 1.0], flip: true, pad_to: 96}
recipe:
  {steps: 2, batch_size: 2, crop_size: 48, lr: 0.01, mean: [0.4, 0.5, 0.6], std: [0.2, 0.3, 0.2]}
assumed: [lr]
experiments:
  test_dignet.voc12:
    model: test_dignet
    model_kwargs: {bins: [1], iterations: 3}
    paper_results: {miou: 40.5, delta1: 50}
  test_dignet.voc12-merged:
    model: test_dignet
    model_kwargs: {bins: [1], iterations: 3}
    protocol: {scales: [1.0], flip: false, pad_to: null, merge: max}
    paper_results: {miou: 40.5}
"""
NORMALIZATION = {"mean": [0.4, 0.5, 0.6], "std": [0.2, 0.3, 0.2]}


@pytest.fixture
def setting(tmp_path):
    """Return (arguments of ``gatezoo eval`` without its checkpoint, function that makes a checkpoint)."""
    DRAWERS["voc12"](tmp_path / "voc")
    (tmp_path / "table.yaml").write_text(FILE)

    def checkpoint(name="test_dignet", normalization=NORMALIZATION, **model_kwargs):
        torch.manual_seed(0)
        model = gatezoo.create_model(name, num_classes=21, **model_kwargs)
        torch.nn.init.normal_(model.head.weight)
        path = tmp_path / f"{name}.safetensors"
        facts = {"model_kwargs": model_kwargs, "num_classes": 21, "class_names": [str(k) for k in range(21)]}
        save_file(model.state_dict(), path, header(name, **facts, **normalization))
        return path

    arguments = ["--recipe", f"{tmp_path}/table.yaml:test_dignet.voc12", "--data", tmp_path / "voc", "-j", 0]
    return [*arguments, "--device", "cpu"], checkpoint


def expected_miou(path, root, split, mode, **options):
    """Mean IoU of label maps predicted image by image."""
    model = gatezoo.create_model("test_dignet", checkpoint_path=path).eval()
    predictor = Predictor(model, mode=mode, **options)
    inter, union = torch.zeros(21), torch.zeros(21)
    for sample in create_dataset("voc12", root, split):
        found = predictor.run(sample["image"].as_subclass(torch.Tensor))[0].classes.long()
        labels = sample["mask"].as_subclass(torch.Tensor).long()
        for k in range(21):
            a, b = (found == k) & (labels != 255), labels == k
            inter[k], union[k] = inter[k] + (a & b).sum(), union[k] + (a | b).sum()
    return (inter[union > 0] / union[union > 0]).mean().item()


def test_scores_are_those_of_the_protocol_and_stand_beside_the_papers(setting, monkeypatch, capsys, tmp_path):
    arguments, checkpoint = setting
    path = checkpoint(bins=[1], iterations=3)
    code, text, err = run(monkeypatch, capsys, "eval", path, *arguments, "--out", tmp_path / "scores")
    assert code == 0, err
    report = json.loads((tmp_path / "scores/scores.json").read_text())
    assert report["protocol"]["mode"] == "padded to 96x96, scales 0.75, 1 with flips, whole images"
    assert report["data"] == {"folder": str(tmp_path / "voc"), "dataset": "voc12", "split": "val"}
    expected = expected_miou(path, tmp_path / "voc", "val", make_inference_mode((0.75, 1.0), True, pad_to=96))
    assert report["scores"]["miou"] == pytest.approx(expected, abs=1e-6)
    row = report["experiment"]["metrics"]["miou"]
    assert row == {
        "paper": 40.5,
        "here": pytest.approx(100 * expected),
        "difference": pytest.approx(100 * expected - 40.5),
    }
    assert report["experiment"]["metrics"]["delta1"] == {"paper": 50, "here": None, "difference": None}
    lines = [line.split() for line in text.splitlines()]
    assert ["mIoU", "40.50", f"{100 * expected:.2f}", f"{100 * expected - 40.5:+.2f}"] in lines
    assert ["depth", "within", "1.25", "50.00", "none"] in lines
    assert "test_dignet.voc12, val: Table 1" in text


def test_options_beside_an_experiment_win_and_are_told(setting, monkeypatch, capsys, tmp_path):
    arguments, checkpoint = setting
    path, out = checkpoint(bins=[1], iterations=3), tmp_path / "scores"
    options = ["--split", "test", "--scales", "1", "--no-flip", "--iterations", 1, "--out", out]
    code, text, err = run(monkeypatch, capsys, "eval", path, *arguments, *options)
    assert code == 0, err
    report = json.loads((out / "scores.json").read_text())
    assert (report["data"]["split"], report["protocol"]["mode"]) == ("trainval", "padded to 96x96, whole images")
    assert report["protocol"]["iterations"] == 1
    assert "not as in the experiment: scales, flip, iterations" in " ".join(text.split())
    expected = expected_miou(path, tmp_path / "voc", "trainval", make_inference_mode(pad_to=96), iterations=1)
    assert report["scores"]["miou"] == pytest.approx(expected, abs=1e-6)


def test_keywords_of_the_reader_are_the_experiments_unless_others_are_given_and_told():
    experiment = dataclasses.replace(find_experiment("fcn_lite0_8s.camvid"), data={"a": 1, "b": 2, "c": 3})
    setting = experiment_setting(experiment, None, None, {"b": 2, "c": 4, "d": 5}, {"flip": experiment.protocol.flip})
    assert setting.data_options == {"a": 1, "b": 2, "c": 4, "d": 5}
    assert setting.changed == ["c", "d"]


def test_only_shares_are_compared_in_per_cent():
    paper = {"miou": 40.5, "rmse": 0.7, "delta1": 60.0, "iiou": 3.0}
    experiment = dataclasses.replace(find_experiment("fcn_lite0_8s.camvid"), paper_results=paper)
    rows = compare_with_paper({"miou": 0.5, "depth": {"rmse": 0.9, "delta1": 0.625}}, experiment)
    here = {"miou": 50.0, "rmse": 0.9, "delta1": 62.5, "iiou": None}
    assert {row.metric: (row.paper, row.here) for row in rows} == {key: (paper[key], here[key]) for key in paper}


def test_merged_passes_are_those_of_the_protocol(setting, monkeypatch, capsys, tmp_path):
    arguments, checkpoint = setting
    arguments[1] += "-merged"
    path = checkpoint(bins=[1], iterations=3)
    code, _, err = run(monkeypatch, capsys, "eval", path, *arguments, "--out", tmp_path / "scores")
    assert code == 0, err
    report = json.loads((tmp_path / "scores/scores.json").read_text())
    assert report["protocol"]["merge"] == "max"
    expected = expected_miou(path, tmp_path / "voc", "val", None, merge="max")
    assert report["scores"]["miou"] == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    ("made", "options", "message"),
    [
        (dict(name="test_fcn"), (), "the model must be that of test_dignet.voc12, test_dignet; got test_fcn: choose"),
        (dict(bins=[1, 3], iterations=3), (), r"bins of the model must be that of .*, [1]; the checkpoint has [1, 3]"),
        (dict(bins=[1]), (), 'iterations of the model must be that of .*, 3; the checkpoint has "the model\'s own"'),
        (dict(bins=[1], iterations=3, shallowest=5), (), "shallowest of the model must be .* the checkpoint has 5"),
        (
            dict(bins=[1], iterations=3, normalization={}),
            (),
            "mean of the weights must be that of test_dignet.voc12, [0.4, 0.5, 0.6]; the checkpoint has",
        ),
        (
            dict(bins=[1], iterations=3, normalization={**NORMALIZATION, "std": [0.2, 0.2, 0.2]}),
            (),
            "std of the weights must be that of test_dignet.voc12, [0.2, 0.3, 0.2]; the checkpoint has",
        ),
        (dict(), ("--dataset", "camvid"), "dataset must be that of test_dignet.voc12, voc12; got 'camvid': leave it"),
        (
            dict(),
            ("--split", "train"),
            "split must be one of test_dignet.voc12, val or trainval; got 'train': leave it",
        ),
        (dict(), ("--merge", "max"), "merge must come with whole images at one scale; got merge='max' with flip"),
        (dict(), ("--recipe", "test_dignet.voc"), "recipe must be the name of an experiment; got 'test_dignet.voc'"),
    ],
)
def test_what_contradicts_an_experiment_is_refused_in_one_line(setting, monkeypatch, capsys, made, options, message):
    arguments, checkpoint = setting
    code, _, err = run(monkeypatch, capsys, "eval", checkpoint(**made), *arguments, *options)
    assert code == 2
    assert len(err.strip().splitlines()) == 1
    for part in message.split(".*"):
        assert part in err


def test_keywords_given_beside_an_experiment_are_the_checkpoints(setting, monkeypatch, capsys):
    arguments, checkpoint = setting
    options = ["--model-kwargs", "iterations=2"]
    code, _, err = run(monkeypatch, capsys, "eval", checkpoint(bins=[1]), *arguments, *options)
    assert code == 0, err
