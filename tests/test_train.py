import json
import re

import pytest
import torch
from safetensors import safe_open
from torch import nn

import gatezoo
from gatezoo import train as training
from gatezoo.data import FolderDataset
from gatezoo.evaluation import evaluate_passes
from gatezoo.train import Recipe, SegmentationTask, train, train_by_name
from gatezoo.transforms import Normalize

QUICK = dict(batch_size=4, crop=48, lr=0.01, warmup=5, class_weights="none", amp=False)


def run(shapes, out, resume=False, **changes):
    recipe = Recipe(**{**QUICK, "steps": 60, "eval_every": 60, **changes})
    keywords = dict(classes="ground,disc", model_kwargs={"output_stride": 8, "head": "fcn"}, freeze_bn=False, workers=0)
    return train_by_name("test_dignet", shapes, shapes, out, recipe, resume=resume, **keywords)


def test_training_learns_discs_and_the_checkpoint_says_how(shapes, tmp_path):
    record = run(shapes, tmp_path / "out")["record"]
    assert record[-1]["miou"] > 0.8
    with safe_open(tmp_path / "out/best.safetensors", "pt") as file:
        facts = json.loads(file.metadata()["gatezoo"])
    assert facts["model"] == "test_dignet"
    assert facts["class_names"] == ["ground", "disc"]
    assert facts["recipe"]["steps"] == facts["step"] == 60
    model = gatezoo.create_model("test_dignet", checkpoint_path=tmp_path / "out/best.safetensors")
    assert model.num_classes == 2
    assert model.backbone.output_stride == 8
    assert model.pretrained_cfg.class_names == ["ground", "disc"]
    scores = gatezoo.evaluate(model, FolderDataset(shapes, 2))
    assert scores.miou == pytest.approx(record[-1]["miou"], abs=1e-6)


def test_resume_is_exact(shapes, tmp_path, monkeypatch):
    whole = run(shapes, tmp_path / "whole", steps=8, eval_every=4)

    def stop(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        real, calls = training.evaluate, []
        patch.setattr(training, "evaluate", lambda *a, **k: stop() if calls else (calls.append(1), real(*a, **k))[1])
        with pytest.raises(KeyboardInterrupt):
            run(shapes, tmp_path / "two", steps=8, eval_every=4)
    with pytest.raises(ValueError, match="the folder of a new training must hold none yet"):
        run(shapes, tmp_path / "two", steps=8, eval_every=4)
    resumed = run(shapes, tmp_path / "two", resume=True, steps=8, eval_every=4)
    assert resumed["record"] == whole["record"]
    first, second = (
        gatezoo.create_model("test_dignet", checkpoint_path=tmp_path / name / "last.safetensors").state_dict()
        for name in ("whole", "two")
    )
    assert all(torch.equal(first[key], second[key]) for key in first)


def test_rates(shapes):
    model = gatezoo.create_model("test_dignet", num_classes=2)
    recipe = Recipe(steps=100, lr=0.01, new_lr_factor=10, warmup=10, power=0.9)
    groups = training._optimizer(model, recipe).param_groups
    backbone = {id(p) for p in model.backbone.parameters()}
    for group in groups:
        for parameter in group["params"]:
            assert group["lr"] == pytest.approx(0.01 if id(parameter) in backbone else 0.1)
            assert (group["weight_decay"] > 0) == (parameter.ndim > 1)
    assert sum(len(group["params"]) for group in groups) == len(list(model.parameters()))
    assert training._rate(0, recipe) == pytest.approx(0.1)
    assert training._rate(50, recipe) == pytest.approx(0.5**0.9)


def test_the_loss_is_weighted_cross_entropy_of_the_last_pass():
    model = gatezoo.create_model("test_dignet", num_classes=3).eval()
    weight = torch.tensor([1.0, 2.0, 3.0])
    task = SegmentationTask(model, Normalize((0.5,) * 3, (0.5,) * 3), weight, 255).eval()
    images = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8)
    labels = torch.randint(0, 3, (2, 64, 64), dtype=torch.uint8)
    labels[:, :10] = 255
    with torch.no_grad():
        logits = model(images / 127.5 - 1, iterations=2)
        expected = nn.functional.cross_entropy(logits, labels.long(), weight, ignore_index=255)
        torch.testing.assert_close(task(images, labels), expected)


def test_losses_that_stay_infinite_end_the_training(shapes, tmp_path):
    model = gatezoo.create_model("test_fcn", num_classes=2)
    nn.init.constant_(model.head.bias, float("nan"))
    data = FolderDataset(shapes, 2), FolderDataset(shapes, 2)
    with pytest.raises(ValueError, match="losses and gradients must be finite; 10 steps up to step 9 were not"):
        train(model, *data, tmp_path / "out", Recipe(**QUICK, steps=20), workers=0)


def test_initial_checkpoint_takes_over_what_fits(shapes, tmp_path, capsys):
    run(shapes, tmp_path / "first", steps=2, eval_every=2)
    recipe = Recipe(**{**QUICK, "steps": 1, "eval_every": 1, "lr": 0.0})
    start = tmp_path / "first/last.safetensors"
    train_by_name("test_fcn", shapes, shapes, tmp_path / "second", recipe, "a,b,c", initial_checkpoint=start, workers=0)
    said = r"\d+ loaded, 2 missing \(head\.weight, head\.bias\), \d+ unexpected \(feedback\."
    assert re.search(said, capsys.readouterr().out)
    first = gatezoo.create_model("test_dignet", checkpoint_path=start).state_dict()
    second = gatezoo.create_model("test_fcn", checkpoint_path=tmp_path / "second/last.safetensors").state_dict()
    assert torch.equal(first["backbone.net.layer2.0.conv1.weight"], second["backbone.net.layer2.0.conv1.weight"])


def test_fine_tuning_keeps_the_normalisation_of_the_weights(shapes, tmp_path):
    run(shapes, tmp_path / "first", steps=1, eval_every=1, mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6))
    model = gatezoo.create_model("test_dignet", checkpoint_path=tmp_path / "first/last.safetensors")
    data = FolderDataset(shapes, 2), FolderDataset(shapes, 2)
    facts = train(model, *data, tmp_path / "second", Recipe(**QUICK, steps=1), workers=0)
    assert facts["mean"] == [0.1, 0.2, 0.3]
    assert facts["std"] == [0.4, 0.5, 0.6]


def test_scores_of_every_pass(shapes):
    model = gatezoo.create_model("test_dignet", num_classes=2)
    data = FolderDataset(shapes, 2)
    each = evaluate_passes(model, data, iterations=3)
    assert [scores.miou for scores in each] == [gatezoo.evaluate(model, data, iterations=t).miou for t in (1, 2, 3)]
