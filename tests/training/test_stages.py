"""Depth in training: readers, losses, evaluation, stages and prediction files, in tiny trainings on drawn discs."""

import csv
import json
import logging
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from helpers import commands, trees
from helpers.backbones import backbone_file
from PIL import Image

import gatezoo
from gatezoo.data import FolderDataset, create_dataset
from gatezoo.factory import load_checkpoint
from gatezoo.inference.modes import MultiScale, SlidingWindow
from gatezoo.inference.passes import decode_depth
from gatezoo.inference.predictor import Predictor
from gatezoo.inference.semantic_files import SemanticWriter
from gatezoo.inference.writers import write_predictions
from gatezoo.metrics import DepthMetric
from gatezoo.recipes.experiments import Stage, experiments
from gatezoo.recipes.recipe import Recipe
from gatezoo.training import stages
from gatezoo.training.launch import train_model
from gatezoo.training.options import ModelSource, RunOptions
from gatezoo.training.stages import train_stages
from gatezoo.weights.checkpoint_files import checkpoint_metadata, read_checkpoint

QUICK = dict(steps=4, eval_interval=4, batch_size=2, crop_size=48, amp_dtype="none", class_weights="none")
DEPTH_LOSSES = dict(depth_loss_weight=1.0, scale_loss_weight=1.0)
CLASSES = ["ground", "disc"]


@pytest.fixture
def rooms(shapes):
    """Add depth to the discs: 1 to 5 m from left to right, half of that on the disc, unknown in the first 8 columns."""
    (shapes / "depth").mkdir()
    for path in sorted((shapes / "labels").glob("*.png")):
        labels = np.array(Image.open(path))
        millimetres = np.linspace(1000, 5000, labels.shape[1]) * np.where(labels == 1, 0.5, 1)
        millimetres[:, :8] = 0
        Image.fromarray(millimetres.astype(np.uint16)).save(shapes / "depth" / path.name)
    return shapes


def splits(rooms, depth=True):
    return [FolderDataset(rooms, CLASSES, depth=0.001 if depth else None).subset(range(8)) for _ in range(2)]


def run(rooms, out, name="test_depthgate", depth=True, model_kwargs=None, resume=False, freeze_bn=True, **changes):
    recipe = Recipe(**{**QUICK, **changes})
    source = ModelSource(name, model_kwargs=model_kwargs or {}, freeze_bn=freeze_bn)
    return train_model(source, *splits(rooms, depth), recipe, RunOptions(out, workers=0, resume=resume))


def weights_in(folder):
    return read_checkpoint(folder / "last.safetensors")[0]


# ---- thresholds


def test_depth_quantiles_cut_the_known_pixels_into_equal_parts(rooms):
    data = splits(rooms)[0]
    depths = torch.cat([sample["depth"].flatten() for sample in data]).as_subclass(torch.Tensor)
    known = depths[depths.isfinite()]
    thresholds = data.depth_quantiles(5)
    shares = [(known < threshold).float().mean().item() for threshold in thresholds]
    assert shares == pytest.approx([0.2, 0.4, 0.6, 0.8], abs=0.02)
    for path in (rooms / "depth").iterdir():
        Image.fromarray(np.zeros((64, 80), np.uint16)).save(path)
    with pytest.raises(ValueError, match="depth must be known at one pixel of the training data at least"):
        data.depth_quantiles(5)
    with pytest.raises(ValueError, match="scales by depth must have data with depth; these have none"):
        splits(rooms, depth=False)[0].depth_quantiles(5)


def test_training_sets_the_thresholds_unless_they_are_given(rooms, tmp_path):
    run(rooms, tmp_path / "own", steps=1, eval_interval=1, **DEPTH_LOSSES)
    expected = splits(rooms)[0].depth_quantiles(5)
    trained = gatezoo.create_model("test_depthgate", checkpoint_path=tmp_path / "own/last.safetensors")
    assert trained.thresholds.tolist() == pytest.approx(expected)
    run(rooms, tmp_path / "given", model_kwargs={"thresholds": (1.0, 2.0, 3.0, 4.0)}, steps=1, eval_interval=1)
    trained = gatezoo.create_model("test_depthgate", checkpoint_path=tmp_path / "given/last.safetensors")
    assert trained.thresholds.tolist() == [1, 2, 3, 4]


# ---- training and evaluation


def test_training_learns_the_depth(rooms, tmp_path):
    recipe = dict(steps=60, eval_interval=60, batch_size=4, scale_range=(1.0, 1.0), hflip=0.0, **DEPTH_LOSSES)
    history = run(rooms, tmp_path / "out", model_kwargs={"loops": 1}, freeze_bn=False, **recipe)["history"]
    assert history[-1]["depth"]["delta1"] > 0.5
    assert history[-1]["miou"] > 0.7
    with (tmp_path / "out/summary.csv").open() as file:
        assert list(csv.DictReader(file))[-1]["miou"]


@pytest.mark.parametrize("name", ["test_depthgate", "test_depthgate_given"])
def test_resume_is_exact_with_depth(rooms, tmp_path, monkeypatch, name):
    losses = DEPTH_LOSSES if name == "test_depthgate" else {}
    run(rooms, tmp_path / "whole", name, eval_interval=2, iteration_loss_weight=0.5, **losses)
    from gatezoo.training import tasks

    real, calls = tasks.evaluate, []

    def stop(*arguments, **keywords):
        if calls:
            raise KeyboardInterrupt
        calls.append(1)
        return real(*arguments, **keywords)

    with monkeypatch.context() as patch:
        patch.setattr(tasks, "evaluate", stop)
        with pytest.raises(KeyboardInterrupt):
            run(rooms, tmp_path / "two", name, eval_interval=2, iteration_loss_weight=0.5, **losses)
    run(rooms, tmp_path / "two", name, eval_interval=2, iteration_loss_weight=0.5, resume=True, **losses)
    whole, two = weights_in(tmp_path / "whole"), weights_in(tmp_path / "two")
    assert all(torch.equal(whole[key], two[key]) for key in whole)


@torch.no_grad()
def test_evaluation_scores_the_depth_of_whole_images(rooms):
    model, data = gatezoo.create_model("test_depthgate", num_classes=2).eval(), splits(rooms)[1]
    data = data.subset(range(3))
    for blur in (0.0, 2.0):
        expected = DepthMetric().start(2)
        for sample in data:
            batch = model.make_normalize()(sample["image"][None])
            depth = decode_depth(model.outputs(batch).log_depth[-1], blur)[0]
            expected.update(SimpleNamespace(depth=depth), {"depth": sample["depth"].as_subclass(torch.Tensor)})
        found = gatezoo.evaluate(model, data, blur=blur)
        assert found.scores.depth.to_dict() == pytest.approx(expected.compute()["depth"].to_dict(), rel=1e-4)
        assert found.protocol["depth_blur"] == blur
    found = gatezoo.evaluate(model, data, all_iterations=True)
    assert found.scores.depth.pixels == 3 * 64 * 72
    assert json.loads(json.dumps(found.scores.to_dict()))["depth"]["pixels"] == 3 * 64 * 72
    # Each pass has its own depth.
    assert [scores.depth.rmse for scores in found.by_iteration] == [
        gatezoo.evaluate(model, data, iterations=number).scores.depth.rmse for number in (1, 2, 3)
    ]
    assert found.by_iteration[0].depth != found.by_iteration[2].depth
    for other in (
        gatezoo.evaluate(model, splits(rooms, depth=False)[1]),
        gatezoo.evaluate(model, data, mode=MultiScale()),
    ):
        assert "depth" not in other.scores
    attention = gatezoo.create_model("test_depthgate", num_classes=2, gate="attention")
    assert "depth" not in gatezoo.evaluate(attention, data).scores


def test_evaluation_passes_the_given_depth_to_the_network(rooms):
    model, data = gatezoo.create_model("test_depthgate_given", num_classes=2), splits(rooms)[1].subset(range(2))
    gates = []
    model.head.pooling.gate.register_forward_pre_hook(lambda module, arguments: gates.append(arguments[1]))
    scores = gatezoo.evaluate(model, data).scores
    assert "depth" not in scores
    assert [gate[0, :, :, 0].unique().tolist() for gate in gates] == [[pytest.approx(0.2)]] * 2
    assert all(set(gate[0, :, :, 2:].unique().tolist()) == {0, 1} for gate in gates)
    assert gatezoo.evaluate(model, data, all_iterations=True).by_iteration[-1] == scores
    with pytest.raises(ValueError, match="depth_map must be given to a network that is gated by the depth"):
        gatezoo.evaluate(model, splits(rooms, depth=False)[1])
    with pytest.raises(ValueError, match="mode must be whole images for a network that takes depth; got scales"):
        gatezoo.evaluate(model, data, mode=MultiScale())


def test_training_refuses_unfit_losses_and_data(rooms, tmp_path):
    with pytest.raises(ValueError, match="depth_loss_weight, scale_loss_weight and a gate of given depth must"):
        run(rooms, tmp_path / "a", depth=False, **DEPTH_LOSSES)
    with pytest.raises(ValueError, match="must have data with depth; these have none: pass --data-kwargs"):
        run(rooms, tmp_path / "b", "test_depthgate_given", depth=False)
    with pytest.raises(ValueError, match="a depth loss needs a network that predicts depth"):
        run(rooms, tmp_path / "c", model_kwargs={"gate": "attention"}, **DEPTH_LOSSES)
    with pytest.raises(
        ValueError, match=r"trainable_prefix must begin the name of a parameter of the network; got 'hed\.'"
    ):
        run(rooms, tmp_path / "d", trainable_prefix="hed.")
    with pytest.raises(ValueError, match="depth_loss_weight must be a finite number, 0 or more; got -1"):
        Recipe(depth_loss_weight=-1)
    with pytest.raises(ValueError, match="a training must have a loss"):
        Recipe(seg_loss_weight=0)


def test_trainable_prefix_restricts_what_is_trained(rooms, tmp_path):
    model_kwargs = {"loops": 0}
    run(rooms, tmp_path / "first", model_kwargs=model_kwargs, steps=1, eval_interval=1)
    start = weights_in(tmp_path / "first")
    recipe = Recipe(**{**QUICK, "seg_loss_weight": 0.0, "trainable_prefix": "head.pooling.gate", **DEPTH_LOSSES})
    first = tmp_path / "first/last.safetensors"
    source = ModelSource("test_depthgate", initial_checkpoint=first, model_kwargs=model_kwargs)
    train_model(source, *splits(rooms), recipe, RunOptions(tmp_path / "second", workers=0))
    end = weights_in(tmp_path / "second")
    changed = {key for key in start if not torch.equal(start[key], end[key])}
    assert changed
    assert all(key.startswith("head.pooling.gate.") for key in changed)
    assert {"head.pooling.gate.scale.1.weight", "head.pooling.gate.log_depth.weight"} <= changed


# ---- stages

STAGES = [
    Stage("baseline", {"gate": "none", "loops": 0}, Recipe(**QUICK)),
    Stage("gating", {"loops": 0}, Recipe(**QUICK, **DEPTH_LOSSES)),
    Stage("loop1", {"loops": 1}, Recipe(**QUICK, **DEPTH_LOSSES, iteration_loss_weight=1.0)),
]


def test_stages_run_in_turn_and_resume_between_and_inside(rooms, tmp_path, monkeypatch, caplog):
    caplog.set_level(logging.INFO, logger="gatezoo")

    def go(out, resume=False):
        options = RunOptions(tmp_path / out, workers=0, resume=resume)
        return train_stages(ModelSource("test_depthgate"), STAGES, *splits(rooms), options)

    metadata = go("whole")
    assert metadata["history"][-1]["step"] == 4
    assert metadata["model_kwargs"] == {"loops": 1}
    assert sorted(p.name for p in (tmp_path / "whole").iterdir()) == ["1_baseline", "2_gating", "3_loop1"]
    with pytest.raises(ValueError, match="the folder of a new training must not hold one yet"):
        go("whole")
    # Stopped between the first stage and the second, then inside the second.
    real, started = stages.train_model, []

    def once(*arguments, **keywords):
        if started:
            raise KeyboardInterrupt
        started.append(1)
        return real(*arguments, **keywords)

    monkeypatch.setattr(stages, "train_model", once)
    with pytest.raises(KeyboardInterrupt):
        go("parts")
    monkeypatch.undo()
    from gatezoo.training.trainer import Trainer

    step = Trainer.on_step_end

    def stop(self, *arguments):
        step(self, *arguments)
        if self.step == 2:
            self._save()
            raise KeyboardInterrupt

    monkeypatch.setattr(Trainer, "on_step_end", stop)
    with pytest.raises(KeyboardInterrupt):
        go("parts", resume=True)
    monkeypatch.undo()
    assert checkpoint_metadata(tmp_path / "parts/2_gating/last.safetensors")["step"] == 2
    caplog.clear()
    go("parts", resume=True)
    assert "stage 1, baseline: done" in caplog.messages
    for folder in ("1_baseline", "2_gating", "3_loop1"):
        whole, parts = weights_in(tmp_path / "whole" / folder), weights_in(tmp_path / "parts" / folder)
        assert all(torch.equal(whole[key], parts[key]) for key in whole), folder


def test_stage_starts_from_the_weights_of_the_previous_one(rooms, tmp_path):
    frozen = [STAGES[0], Stage("gating", {"loops": 0}, Recipe(**QUICK | {"lr": 0.0}))]
    train_stages(ModelSource("test_depthgate"), frozen, *splits(rooms), RunOptions(tmp_path, workers=0))
    before, after = weights_in(tmp_path / "1_baseline"), weights_in(tmp_path / "2_gating")
    # The running statistics of new norms follow the data even at a learning rate of 0.
    shared = {key for key in before.keys() & after.keys() if not key.startswith("head") or key.endswith(".weight")}
    shared -= {"thresholds"}
    assert len(shared) > 50
    assert all(torch.equal(before[key], after[key]) for key in shared)


def test_stages_of_the_papers_have_valid_recipes_and_keywords():
    found = experiments()["depthgate_r50.nyuv2-loop2"]
    assert [stage.name for stage in found.stages] == ["baseline", "depth", "gating", "loop1", "loop2", "segmentation"]
    assert found.data == {"depth": True}
    weights = [(s.recipe.seg_loss_weight, s.recipe.depth_loss_weight, s.recipe.scale_loss_weight) for s in found.stages]
    assert weights == [(1, 0, 0), (0, 0.001, 0.01), *3 * [(1, 0.001, 0.01)], (1, 0, 0)]
    assert [s.recipe.iteration_loss_weight for s in found.stages] == [0, 0, 0, 1, 1, 1]
    for name, experiment in experiments().items():
        for stage in experiment.stages:
            gatezoo.registry.get_model_spec(experiment.model).merge(stage.model_kwargs)
            assert stage.recipe.steps == experiment.recipe.steps or not experiment.paper, name
        if experiment.stages and not experiment.paper:  # as many steps with labels as the rows without stages have
            labeled = sum(stage.recipe.steps for stage in experiment.stages if stage.recipe.seg_loss_weight)
            assert labeled == experiment.recipe.steps, name
        assert not experiment.stages or experiment.stages[-1].model_kwargs == experiment.model_kwargs, name
    with pytest.raises(ValueError, match="a training in stages must have at least one; got none"):
        train_stages(ModelSource("test_depthgate"), [], None, None, RunOptions("nowhere"))


# ---- command line


def test_stages_evaluation_and_figures_by_command_line(monkeypatch, capsys, tmp_path):
    trees.nyuv2_folder(tmp_path / "nyu")
    arguments = ("test_depthgate", "--data-root", tmp_path / "nyu", "--out", tmp_path / "run", "-j", 0, "--amp", "none")
    recipe = (
        "--recipe",
        "depthgate_mobilenetv2.nyuv2_folder-loop2",
        "--steps",
        1,
        "-b",
        1,
        "--crop",
        48,
        "--data-kwargs",
        "half=False",
        "--pretrained-backbone",
        backbone_file(tmp_path / "backbone.safetensors"),
    )
    code, out, err = commands.run(monkeypatch, capsys, "train", *arguments, *recipe)
    assert code == 0, err
    assert "stage 6, segmentation: 1 steps" in out
    code, out, _ = commands.run(monkeypatch, capsys, "train", *arguments, *recipe, "--resume")
    assert (code, out.count(": done")) == (0, 6)
    weights = tmp_path / "run/6_segmentation/last.safetensors"
    data = ("--data", tmp_path / "nyu", "--dataset", "nyuv2_folder", "--data-kwargs", "depth=True")
    code, out, err = commands.run(
        monkeypatch, capsys, "eval", weights, *data, "--blur", 1, "--out", tmp_path / "scores"
    )
    assert code == 0, err
    assert "depth within 1.25^2" in out
    scores = json.loads((tmp_path / "scores/scores.json").read_text())
    assert 0 <= scores["scores"]["depth"]["delta1"] <= scores["scores"]["depth"]["delta3"] <= 1
    assert scores["protocol"]["depth_blur"] == 1
    image = next((tmp_path / "nyu/train/images").iterdir())
    code, out, err = commands.run(
        monkeypatch, capsys, "predict", weights, image, "--depth", "--out", tmp_path / "drawn"
    )
    assert code == 0, err
    suffixes = {path.name.removeprefix(image.stem) for path in (tmp_path / "drawn").iterdir()}
    assert suffixes == {".png", "_overlay.jpg", ".json", "_depth.png", "_loops.png"}


# ---- predictions


@pytest.fixture
def model():
    torch.manual_seed(0)
    model = gatezoo.create_model("test_depthgate", num_classes=4).eval()
    torch.nn.init.normal_(model.recurrent.pooling.gate.log_depth.weight, std=0.05)
    return model


def test_predict_returns_metres_too(model, tmp_path):
    image = torch.randint(256, (3, 65, 97), dtype=torch.uint8)
    prediction = gatezoo.predict(model, image, depth=True)
    metres = prediction.depth
    assert np.array_equal(prediction.classes, gatezoo.predict(model, image))
    assert metres.shape == (65, 97)
    assert metres.dtype == np.float32
    with torch.no_grad():
        log_depth = model.outputs(model.make_normalize()(image[None])).log_depth[-1]
    np.testing.assert_allclose(metres, log_depth[0].exp(), rtol=1e-4)
    smooth = gatezoo.predict(model, image, depth=True, blur=3.0).depth
    assert smooth.std() < metres.std()
    assert smooth.mean() == pytest.approx(metres.mean(), rel=0.02)
    several = gatezoo.predict(model, [image, image], depth=True)
    assert len(several) == 2
    assert np.array_equal(several[1].depth, metres)
    passes = Predictor(model, iterations=4).predict(image, depth=True, all_passes=True).passes
    assert [one.depth.shape for one in passes] == [(65, 97)] * 4
    auto = Predictor(model, iterations="auto", tolerance=0.5).predict(image, depth=True, all_passes=True)
    assert 2 <= len(auto.passes) == auto.iterations <= 10


def test_depth_of_a_scaled_image_equals_that_of_a_smaller_one(model):
    image, half = torch.randint(256, (3, 96, 128), dtype=torch.uint8), MultiScale((0.5,), flip=False)
    prediction = gatezoo.predict(model, image, depth=True, mode=half)
    metres = prediction.depth
    assert np.array_equal(prediction.classes, gatezoo.predict(model, image, mode=half))
    with torch.no_grad():
        batch = model.make_normalize()(image[None])
        small = F.interpolate(batch, scale_factor=0.5, mode="bilinear", antialias=True)
        log_depth = F.interpolate(model.outputs(small).log_depth[-1][:, None], (96, 128), mode="bilinear")
    np.testing.assert_allclose(metres, log_depth[0, 0].exp(), rtol=1e-4)
    assert not np.allclose(metres, gatezoo.predict(model, image, depth=True).depth, rtol=0.01)


def test_predict_refuses_depth_where_there_is_none(model):
    image = torch.zeros(3, 64, 64)
    with pytest.raises(
        ValueError, match="depth must be predicted by the network; test_fcn predicts none: choose a depth"
    ):
        gatezoo.predict(gatezoo.create_model("test_fcn"), image, depth=True)
    with pytest.raises(ValueError, match="a prediction of depth or of single passes requires whole images"):
        gatezoo.predict(model, image, depth=True, mode=MultiScale())
    for several in (MultiScale((0.5, 1.0), flip=False), MultiScale((0.5,)), SlidingWindow(64)):
        with pytest.raises(ValueError, match="a prediction of depth or of single passes requires whole"):
            gatezoo.predict(model, image, depth=True, mode=several)
    with pytest.raises(ValueError, match="blur must be a standard deviation in pixels, 0 or more; got -1"):
        gatezoo.predict(model, image, depth=True, blur=-1.0)
    with pytest.raises(ValueError, match="iterations requires a network that is unrolled"):
        gatezoo.predict(gatezoo.create_model("test_depthgate", loops=0), image, depth=True, iterations=2)
    with pytest.raises(ValueError, match="depth_map must be given to a network that is gated"):
        gatezoo.predict(gatezoo.create_model("test_depthgate_given"), image)


def test_depth_blur_is_a_gaussian_of_the_metres():
    log_depth = torch.zeros(1, 41, 41)
    log_depth[0, 20, 20] = math.log(101.0)
    metres = decode_depth(log_depth, 2.0)[0] - 1
    ys, xs = np.mgrid[-20:21, -20:21]
    gaussian = np.exp(-(ys**2 + xs**2) / 8) * (abs(ys) <= 6) * (abs(xs) <= 6)
    np.testing.assert_allclose(metres, 100 * gaussian / gaussian.sum(), atol=1e-4)
    assert decode_depth(torch.zeros(1, 5, 40), 10.0).shape == (1, 5, 40)


def test_prediction_files_of_a_depth(model, tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "room.png")
    writer = SemanticWriter(Predictor(model), depth=True)
    (written,) = write_predictions(writer, [tmp_path / "room.png"], tmp_path / "out")
    assert [path.name for path in written.files] == [
        "room.png", "room_overlay.jpg", "room_depth.png", "room_loops.png", "room.json",
    ]  # fmt: skip
    metres = gatezoo.predict(model, tmp_path / "room.png", depth=True).depth
    assert np.array_equal(np.array(Image.open(tmp_path / "out/room_depth.png")), np.round(1000 * metres))
    assert np.array_equal(np.array(Image.open(tmp_path / "out/room.png")), gatezoo.predict(model, pixels))


# ---- readers


def test_images_at_half_their_size(tmp_path):
    trees.nyuv2_folder(tmp_path)
    whole, half = (create_dataset("nyuv2_folder", tmp_path, "train", depth=True, half=h)[0] for h in (False, True))
    assert torch.equal(half["mask"], whole["mask"][::2, ::2])
    assert torch.equal(half["depth"].nan_to_num(-1), whole["depth"][::2, ::2].nan_to_num(-1))
    assert half["image"].shape[-2:] == half["mask"].shape
    assert half["image"].float().mean() == pytest.approx(whole["image"].float().mean().item(), rel=0.05)


def test_weights_of_another_number_of_scales_leave_the_thresholds(tmp_path, rooms):
    run(rooms, tmp_path / "out", model_kwargs={"gate": "none", "loops": 0}, steps=1, eval_interval=1)
    model = gatezoo.create_model("test_depthgate", num_classes=2)
    before = model.thresholds.clone()
    load_checkpoint(model, tmp_path / "out/last.safetensors", strict=False)
    assert torch.equal(model.thresholds, before)
