"""Train by name: the papers' recipes on data in the layouts of the data sets, and fine-tuning."""

import csv
import json
import shutil

import numpy as np
import pytest
import torch
from helpers.backbones import backbone_file
from helpers.commands import run
from helpers.trees import DRAWERS
from PIL import Image

import gatezoo
from gatezoo.data import FolderDataset
from gatezoo.data.classes import class_names
from gatezoo.data.splits import create_splits, random_split
from gatezoo.recipes.experiments import experiments
from gatezoo.registry import get_model_spec
from gatezoo.training.finetune import finetune
from gatezoo.training.options import RunOptions

# On the smallest backbone, small crops, two steps.
SMALL = ["--steps", 2, "-b", 2, "--crop", 48, "--amp", "none", "-j", 0, "--no-sync-bn"]
SMALL += ["--linear-probe-steps", 0, "--crop-schedule", ""]
NARROW = {"width": 16, "context_width": 16, "auxiliary_width": 16, "channels": 16, "box_width": 16, "mask_width": 16}
NARROW |= {"min_size": 64, "max_size": 96}


def one_of_each_kind():
    """Mark all experiments as slow but the first of each data set, family and number of stages."""
    kinds = set()
    for name, experiment in experiments().items():
        kind = experiment.dataset, get_model_spec(experiment.model).family, len(experiment.stages)
        yield pytest.param(name, marks=pytest.mark.slow if kind in kinds else ())
        kinds.add(kind)


# Two or more of each paper, of every kind of training, data set and protocol.
END_TO_END = [
    "dignet_resnet101_8s.voc12-stage-t2",
    "dignet_resnet101_8s.voc12-test",
    "rignet_r50_network.voc12",
    "rignet_deeplabv2_r101_pu.cocostuff10k",
    "depthgate_r50.nyuv2-depth-blur",
    "depthgate_r101.cityscapes-loop2",
    "depthgate_r101.cityscapes-attention",
    "gated_fpn_pspnet_r101.cityscapes",
    "gff_pspnet_r101.cityscapes-test-trainval",
    "gff_pspnet_r50.pascal_context",
    "zigzag_r101_large_kernel.voc12",
    "zigzag_maskrcnn_r101.coco",
]


class Small:
    """Trains experiments on drawn data, small, after those that they start from."""

    def __init__(self, monkeypatch, capsys, tmp_path):
        self.command, self.folder = (monkeypatch, capsys), tmp_path
        self.backbone = backbone_file(tmp_path / "backbone.safetensors")

    def options(self, experiment):
        """Return keywords of the reader, since what is drawn is small, and options for them and for the network."""
        options = experiment.data | {key: False for key in ("half", "strip") if key in experiment.data}
        arguments = [f"--data-kwargs={key}={value}" for key, value in options.items()]
        accepted = get_model_spec(experiment.model).parameter_names()
        arguments += [f"--model-kwargs={key}={value}" for key, value in NARROW.items() if key in accepted]
        return options, [*arguments, "--model-kwargs", "backbone=test_resnet"]

    def root(self, experiment):
        root = self.folder / experiment.dataset
        if not root.exists():
            DRAWERS[experiment.dataset](root)
        return root

    def train(self, name):
        """Return the folder of a training and what it printed."""
        experiment, out = experiments()[name], self.folder / name
        arguments = [*SMALL, *self.options(experiment)[1], "--pretrained-backbone", self.backbone]
        if experiment.recipe.short_side:
            arguments += ["--short-side", NARROW["min_size"]]
        if experiment.start:
            arguments += ["--initial-checkpoint", self.train(experiment.start)[0] / "last.safetensors"]
        elif experiment.initial_weights == "coco":
            arguments += ["--initial-checkpoint", self.backbone]
        line = ["train", "--recipe", name, "--data-root", self.root(experiment), "--out", out, *arguments]
        code, text, err = run(*self.command, *line)
        assert code == 0, err
        return out, text

    def evaluate(self, name, checkpoint):
        """Return the report of an evaluation and what it printed."""
        experiment, out = experiments()[name], self.folder / f"scores of {name}"
        line = ["eval", "--recipe", name, checkpoint, "--data-dir", self.root(experiment), "--out", out, "-j", 0]
        line += ["--iiou"] * ("iiou" in experiment.paper_results)
        code, text, err = run(*self.command, *line, *self.options(experiment)[1])
        assert code == 0, err
        return json.loads((out / "scores.json").read_text()), text


@pytest.fixture
def small(monkeypatch, capsys, tmp_path):
    return Small(monkeypatch, capsys, tmp_path)


@pytest.mark.parametrize("name", one_of_each_kind())
def test_every_recipe_starts(small, name):
    experiment = experiments()[name]
    out, text = small.train(name)
    stages = experiment.stages or (experiment,)
    assert text.count("step 2: loss") == len(stages)
    *_, last = sorted(out.rglob("last.safetensors"))
    cfg = gatezoo.create_model(experiment.model, checkpoint_path=last).pretrained_cfg
    assert cfg.recipe["lr"] == stages[-1].recipe.lr
    splits = small.root(experiment), experiment.dataset, experiment.train_split, experiment.val_split
    task, options = get_model_spec(experiment.model).task, small.options(experiment)[0]
    assert cfg.num_classes == create_splits(*splits, task=task, options=options)[0].num_classes


@pytest.mark.slow
@pytest.mark.parametrize("name", END_TO_END)
def test_experiment_runs_from_training_to_the_papers_table(small, name):
    """Its protocol is the one of the report, and each score of the paper stands beside one of ours."""
    experiment = experiments()[name]
    out, _ = small.train(name)
    *_, last = sorted(out.rglob("last.safetensors"))
    report, text = small.evaluate(name, last)
    for key, value in experiment.paper_results.items():
        row = report["experiment"]["metrics"][key]
        assert row["paper"] == value
        assert row["difference"] == pytest.approx(row["here"] - value)
        assert f"{value:.2f}" in text
    printed, protocol = report["protocol"], experiment.protocol
    assert all(f"{scale:g}" in printed["mode"] for scale in protocol.scales if protocol.scales != (1.0,))
    assert ("flips" in printed["mode"]) == protocol.flip
    assert ("padded to" in printed["mode"]) == bool(protocol.pad_to)
    assert ("windows" in printed["mode"]) == bool(protocol.window_size)
    assert printed.get("merge", "") == protocol.merge
    assert printed.get("depth_blur", 0) == protocol.depth_blur


@pytest.fixture
def weights(shapes, tmp_path):
    """Save a model folder with weights that were trained on discs."""
    from gatezoo.publishing.model_folder import save_pretrained
    from gatezoo.recipes.recipe import Recipe
    from gatezoo.training.launch import train_model
    from gatezoo.training.options import ModelSource

    data = [FolderDataset(shapes, ["ground", "disc"]) for _ in range(2)]
    recipe = Recipe(steps=2, batch_size=2, crop_size=48, amp_dtype="none")
    train_model(ModelSource("test_dignet"), *data, recipe, RunOptions(tmp_path / "first", workers=0))
    model = gatezoo.create_model("test_dignet", checkpoint_path=tmp_path / "first/last.safetensors")
    return save_pretrained(model, tmp_path / "weights")


def test_fine_tuning_in_one_command(monkeypatch, capsys, shapes, weights, tmp_path):
    (tmp_path / "classes.txt").write_text("ground\ndisc\nnever\n")
    out = tmp_path / "out"
    code, text, err = run(
        monkeypatch, capsys, "finetune", f"local-dir:{weights}", "--data", shapes, "--classes",
        tmp_path / "classes.txt", "--out", out, "--epochs", 10, "-b", 4, "--crop", 48, "--lr", 0.01, "--amp", "none",
        "-j", 0,
    )  # fmt: skip
    assert code == 0, err
    assert "19 images to train on, 5 held out" in text
    assert f"use it: gatezoo predict local-dir:{out / 'model'}" in text
    model = gatezoo.create_model(f"local-dir:{out / 'model'}", pretrained=True)
    assert model.pretrained_cfg.class_names == ("ground", "disc", "never")
    assert model.pretrained_cfg.metrics["miou"] > 0.5
    assert model.pretrained_cfg.metrics["protocol"] == (
        "shapes, held-out images; mode whole images, iterations 2, precision float32, images 5"
    )
    code, _, err = run(
        monkeypatch, capsys, "predict", f"local-dir:{out / 'model'}", shapes / "images/00.png", "--out", tmp_path / "p"
    )
    assert code == 0, err
    assert (tmp_path / "p/00.png").is_file()


def test_held_out_images_are_never_trained_on(shapes):
    first, second = random_split(FolderDataset(shapes, 2), 0.25, seed=1)
    assert (len(first), len(second)) == (18, 6)
    assert not {*first.images} & {*second.images}
    again = random_split(FolderDataset(shapes, 2), 0.25, seed=1)[1]
    assert again.images == second.images != random_split(FolderDataset(shapes, 2), 0.25, seed=2)[1].images
    with pytest.raises(ValueError, match=r"must leave some on both sides; 0\.01 holds out 0"):
        random_split(FolderDataset(shapes, 2), 0.01, seed=1)


def test_folder_with_train_and_val_parts_is_split_by_them(shapes, tmp_path):
    for part in ("train", "val"):
        shutil.copytree(shapes, tmp_path / "parts" / part)
    (tmp_path / "parts/val/images/00.png").unlink()
    first, second = create_splits(tmp_path / "parts", classes="ground,disc")
    assert (len(first), len(second)) == (24, 23)
    first, second = create_splits(shapes, val=tmp_path / "parts/val", classes="ground,disc")
    assert (len(first), len(second)) == (24, 23)


def test_fine_tuning_stops_at_bad_data(monkeypatch, capsys, shapes, weights, tmp_path):
    labels = np.array(Image.open(shapes / "labels/03.png"))
    labels[0, 0] = 9
    Image.fromarray(labels).save(shapes / "labels/03.png")
    out = tmp_path / "o"
    arguments = ["finetune", f"local-dir:{weights}", "--data", shapes, "--classes", "ground,disc", "--out", out]
    code, _, err = run(monkeypatch, capsys, *arguments)
    assert code == 2
    assert "03.png" in err
    assert len(err.strip().splitlines()) == 1
    assert not out.exists()


def test_fine_tuning_starts_from_the_weights(shapes, weights, tmp_path):
    data = random_split(FolderDataset(shapes, ["ground", "disc"]), 0.2, 0)
    recipe = dict(steps=1, lr=1e-30, batch_size=2, crop_size=48, amp_dtype="none")
    result = finetune(f"local-dir:{weights}", *data, recipe, RunOptions(tmp_path / "out", workers=0))
    first = gatezoo.create_model(f"local-dir:{weights}", pretrained=True).state_dict()
    last = gatezoo.create_model(f"local-dir:{result.folder}", pretrained=True).state_dict()
    assert all(torch.allclose(first[key], last[key]) for key in first)
    assert result.before.miou == pytest.approx(result.after.miou, abs=1e-6)


def test_class_names(tmp_path):
    path = tmp_path / "classes.txt"
    path.write_text("sky 1 2 3\nroad 4 5 6\n")
    assert class_names(str(path)) == (("sky", "road"), ((1, 2, 3), (4, 5, 6)))
    assert class_names("sky, road") == (("sky", "road"), None)
    assert len(class_names("camvid")[0]) == 11
    with pytest.raises(ValueError, match="class names must differ; the list has 'sky' 2 times"):
        class_names("sky,sky")
    for folder in ("images", "labels"):
        (tmp_path / folder).mkdir()
        Image.new("L", (40, 40)).save(tmp_path / folder / "a.png")
    path.unlink()
    with pytest.raises(ValueError, match="needs classes"):
        create_splits(tmp_path)


def test_train_needs_a_model(monkeypatch, capsys, tmp_path):
    code, _, err = run(monkeypatch, capsys, "train", "--data", tmp_path, "--out", tmp_path / "o", "--classes", "a,b")
    assert code == 2
    assert "a training must have a model: pass NAME or --recipe" in err


def test_tracker_logs_the_same_values_as_the_csv(monkeypatch, capsys, shapes, tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    code, _, err = run(
        monkeypatch, capsys, "train", "test_fcn", "--data-dir", shapes, "--classes", "ground,disc", "--out",
        tmp_path / "out", "--log-with", "tensorboard", "--log-interval", 1, "-b", 2, "--steps", 2, "--crop", 48,
        "--amp", "none", "-j", 0,
    )  # fmt: skip
    assert code == 0, err
    log = EventAccumulator(str(tmp_path / "out" / "log")).Reload()
    rows = list(csv.DictReader((tmp_path / "out/summary.csv").open()))
    names = dict(loss="train/loss", lr="train/learning_rate", images_per_s="train/images_per_second", miou="val/miou")
    for tag, name in names.items():
        logged = {event.step: event.value for event in log.Scalars(name)}
        assert logged == pytest.approx({int(row["step"]): float(row[tag]) for row in rows if row[tag]}, rel=1e-6), tag
    assert [int(row["step"]) for row in rows] == [1, 2]
    assert set(log.Tags()["images"]) == {"samples", "predictions", "curves"}
    (hparams,) = (tmp_path / "out" / "log").glob("*/hparams.yml")
    assert "batch_size: 2" in hparams.read_text()
