"""What a fine-tuned network remembers: the encoding of its labels, its license and where its weights come from."""

import dataclasses
import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
import typer.main
from helpers.commands import run
from helpers.paths import ROOT
from PIL import Image
from safetensors.torch import load_file

import gatezoo
from gatezoo.cli.app import app
from gatezoo.cli.option_groups import LabelOptions
from gatezoo.data import FolderDataset, FolderLayout
from gatezoo.pretrained import PretrainedCfg
from gatezoo.publishing.model_folder import save_pretrained
from gatezoo.recipes.finetuning import FINETUNE_DEFAULTS, FinetuneContext, finetune_recipe
from gatezoo.training import RunOptions
from gatezoo.training.selection import Selection

BASE = "test_dignet.local, license CC-BY-NC-4.0, trained on CamVid, 367 images (research use)"


@pytest.fixture
def masks(shapes):
    """The discs as masks of 0 and 255 of images of 12 bits, in train/ and, 6 of 24, in val/."""
    for number, path in enumerate(sorted((shapes / "images").iterdir())):
        part = shapes / ("train" if number % 4 else "val")
        for folder in ("images", "labels"):
            (part / folder).mkdir(parents=True, exist_ok=True)
        labels = np.array(Image.open(shapes / "labels" / path.name))
        Image.fromarray(np.where(labels == 1, 255, 0).astype(np.uint8)).save(part / "labels" / f"{path.stem}_m.png")
        gray = np.array(Image.open(path).convert("L")).astype(np.uint16)
        Image.fromarray(gray * 16).save(part / "images" / path.name)
    shutil.rmtree(shapes / "images")
    shutil.rmtree(shapes / "labels")
    return shapes


@pytest.fixture
def finetuned(monkeypatch, capsys, masks, tmp_path):
    """Fine-tune a small network on them in one command; return the model folder and what was printed."""
    model = gatezoo.create_model("test_dignet", num_classes=5)
    facts = {"license": "CC-BY-NC-4.0", "train_data": "CamVid, 367 images", "data_license": "research use"}
    facts |= {"command": "gatezoo train", "label_format": {"reduce_zero_label": True}}
    model.pretrained_cfg = PretrainedCfg("test_dignet", "camvid", 5, (0.4,) * 3, (0.2,) * 3, **facts)
    weights = save_pretrained(model, tmp_path / "weights")
    code, out, err = run(
        monkeypatch, capsys, "finetune", f"local-dir:{weights}", "--data", masks, "--classes", "background,nucleus",
        "--ids", "0=0", "--ids", "255=1", "--label-suffix", "_m.png", "--out", tmp_path / "out", "--steps", 16, "-b", 2,
        "--crop", 48, "--lr", 0.02, "--image-max", 4095, "--amp", "none", "-j", 0, "--data-license", "CC0 1.0",
    )  # fmt: skip
    assert code == 0, err
    return tmp_path / "out/model", out


def miou(model, root, **options):
    folder = LabelOptions(**options).folder_options(model.pretrained_cfg)
    data = FolderDataset(root, model.class_names, **folder.folder_kwargs())
    return gatezoo.evaluate(model, data).scores.miou


def test_fine_tuned_folder_remembers_the_labels(finetuned, masks, monkeypatch, capsys, tmp_path):
    folder, printed = finetuned
    model = gatezoo.create_model(f"local-dir:{folder}", pretrained=True)
    reported = model.pretrained_cfg.metrics["miou"]
    assert f"{reported:.4f} after" in printed
    assert 0.1 < reported < 0.99
    assert miou(model, masks / "val") == reported
    assert miou(model, masks / "val", label_map=["0=0", "255=1"], label_suffix="_m.png", image_max=4095) == reported
    # The checkpoint, from which the folder was made, remembers the same.
    checkpoint = gatezoo.create_model("test_dignet", checkpoint_path=folder.parent / "last.safetensors")
    assert miou(checkpoint, masks / "val") == reported
    for options in ((), ("--ids", "0=0", "--ids", "255=1", "--label-suffix", "_m.png", "--image-max", 4095)):
        arguments = ("--data", masks, "--split", "val", "-j", 0, "--out", tmp_path / "scores", *options)
        code, _, err = run(monkeypatch, capsys, "eval", f"local-dir:{folder}", *arguments)
        assert code == 0, err
        assert json.loads((tmp_path / "scores/scores.json").read_text())["scores"]["miou"] == pytest.approx(reported)
    # As index PNGs, 255 is ignored and no nucleus is left.
    model.pretrained_cfg = dataclasses.replace(model.pretrained_cfg, label_format={})
    with pytest.raises(ValueError, match=r"has no labels 00\.png"):
        miou(model, masks / "val")
    assert miou(model, masks / "val", label_suffix="_m.png") != pytest.approx(reported, abs=0.01)


def test_fine_tuned_folder_keeps_license_and_origin(finetuned, masks, monkeypatch, capsys, tmp_path):
    folder, _ = finetuned
    cfg = gatezoo.create_model(f"local-dir:{folder}", pretrained=True).pretrained_cfg
    assert (cfg.license, cfg.base_model) == ("CC-BY-NC-4.0", BASE)
    # Nothing is claimed about the new data that was true of the old.
    data = "shapes, 18 images, 6 more held out; pixels: background 87.8 %, nucleus 12.2 %"
    assert (cfg.train_data, cfg.data_license) == (data, "CC0 1.0")
    assert len(cfg.metrics["iou"]) == 2
    assert cfg.command.startswith("gatezoo finetune local-dir:")
    assert "--ids 255=1" in cfg.command
    assert cfg.image_max == 4095
    card = (folder / "README.md").read_text()
    assert "Labels: ids 0 = background, 255 = nucleus; files are called NAME_m.png." in card
    assert f"Base model: {BASE}." in card
    assert "Weights: CC-BY-NC-4.0." in card
    # Other data may be encoded in another way: fine-tuning again does not use the memory.
    arguments = ("--data", masks, "--classes", "background,nucleus", "--out", tmp_path / "again")
    code, _, err = run(monkeypatch, capsys, "finetune", f"local-dir:{folder}", *arguments)
    assert code == 2
    assert "_m.png" in err
    assert len(err.strip().splitlines()) == 1


def test_names_with_tabs_are_refused_before_the_training(masks, monkeypatch, capsys, tmp_path):
    (tmp_path / "classes.txt").write_text("back\tground\nnucleus\n")
    code, _, err = run(
        monkeypatch, capsys, "finetune", "dignet_lite0_8s", "--data", masks, "--classes",
        tmp_path / "classes.txt", "--label-suffix", "_m.png", "--out", tmp_path / "out",
    )  # fmt: skip
    assert code == 2
    assert "class names must be printable, without tabs" in err
    assert len(err.strip().splitlines()) == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("command", ["train", "finetune"])
@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["-b", 0], "batch_size must be"),
        (["--steps", 0], "steps must be"),
        (["--lr", "nan"], "lr must be"),
        (["--device", "cuda:99"], "device"),
        (["--resume", "--auto-resume"], "--resume and --auto-resume must not be given together"),
    ],
)
def test_wrong_options_are_told_before_the_data_are_read(monkeypatch, capsys, tmp_path, command, options, message):
    arguments = ("--data", tmp_path / "absent", "--classes", "a,b", "--out", tmp_path / "out", *options)
    code, _, err = run(monkeypatch, capsys, command, "dignet_lite0_8s", *arguments)
    assert code == 2
    assert message in err
    assert len(err.strip().splitlines()) == 1


@pytest.mark.parametrize("command", ["train", "finetune"])
def test_occupied_folder_is_told_before_the_data_are_read(monkeypatch, capsys, tmp_path, command):
    (tmp_path / "trainer_state.pt").write_bytes(b"")
    arguments = ("--data", tmp_path / "absent", "--classes", "a,b", "--out", tmp_path)
    code, _, err = run(monkeypatch, capsys, command, "dignet_lite0_8s", *arguments)
    assert code == 2
    assert "the folder of a new training must not hold one yet" in err


def test_help_shows_the_defaults_that_are_used():
    context = FinetuneContext(epochs=3, weights_recipe={"crop_size": 256}, images=50)
    recipe = finetune_recipe({"grad_accum_steps": 2, "rotate": 5.0}, context)
    assert (recipe.lr, recipe.opt, recipe.crop_size, recipe.batch_size) == (0.005, "momentum", 256, 8)
    assert (recipe.steps, recipe.eval_interval, recipe.checkpoint_interval) == (10, 10, 1)  # 3 * 50 / 16
    assert recipe.rotate == 5.0
    assert finetune_recipe({}, dataclasses.replace(context, images=5)).batch_size == 5
    commands = typer.main.get_command(app).commands
    texts = {param.name: param.help for param in commands["finetune"].params if param.name in FINETUNE_DEFAULTS}
    assert texts.keys() == FINETUNE_DEFAULTS.keys()
    assert all(text.endswith(f" Default: {FINETUNE_DEFAULTS[name].text}.") for name, text in texts.items())
    assert FINETUNE_DEFAULTS["lr"].text == "0.005; of instances, 0.0001"
    (train_text,) = (param.help for param in commands["train"].params if param.name == "lr")
    assert train_text.endswith(" Default: 0.01.")


def open_parts(masks):
    options = dict(ids={0: 0, 255: 1}, layout=FolderLayout(label_suffix="_m.png"), image_max=4095)
    return [FolderDataset(masks / part, 2, **options) for part in ("train", "val")]


def test_model_folder_has_the_last_weights_and_not_those_that_score_best(masks, tmp_path, monkeypatch):
    """Held-out images choose no checkpoint."""
    monkeypatch.setattr(Selection, "is_best", lambda _, history: len(history) == 1)
    name = save_pretrained(gatezoo.create_model("test_fcn", num_classes=2), tmp_path / "weights")
    recipe = dict(steps=2, batch_size=2, crop_size=48, amp_dtype="none", lr=0.1, eval_interval=1)
    gatezoo.finetune(f"local-dir:{name}", *open_parts(masks), recipe, RunOptions(tmp_path / "out", workers=0))
    kept = load_file(tmp_path / "out/model/model.safetensors")["head.weight"]
    best, last = (load_file(tmp_path / f"out/{one}.safetensors")["head.weight"] for one in ("best", "last"))
    assert torch.equal(kept, last)
    assert not torch.equal(kept, best)


def test_resumed_fine_tuning_compares_with_the_first_weights(masks, tmp_path):
    data = open_parts(masks)
    name = save_pretrained(gatezoo.create_model("test_fcn", num_classes=2), tmp_path / "weights")
    recipe = dict(steps=2, batch_size=2, crop_size=48, amp_dtype="none", lr=0.1)
    options = RunOptions(tmp_path / "out", workers=0)
    first = gatezoo.finetune(f"local-dir:{name}", *data, recipe, options)
    again = gatezoo.finetune(f"local-dir:{name}", *data, recipe, dataclasses.replace(options, resume=True))
    assert (again.before.miou, again.after.miou) == (first.before.miou, first.after.miou)
    assert first.before.miou != first.after.miou


@pytest.mark.slow
def test_two_processes_fine_tune_as_one(masks, tmp_path):
    """One of them writes the folder, with the scores of all held-out images."""
    weights = gatezoo.save_pretrained(gatezoo.create_model("test_fcn", num_classes=2), tmp_path / "fcn", ["no", "yes"])
    task = ["finetune", f"local-dir:{weights}", "--data", masks, "--ids", "0=0", "--ids", "255=1"]
    task += ["--label-suffix", "_m.png", "--image-max", 4095, "--classes", "background,nucleus", "-j", 0]
    task += ["--steps", 4, "-b", 4, "--crop", 48, "--amp", "none", "--data-license", "CC0 1.0", "--out"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    models, several = [], ["torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m"]
    for name, start in (("one", []), ("two", several)):
        line = [sys.executable, "-m", *start, "gatezoo", *map(str, task), str(tmp_path / name)]
        text = subprocess.run(line, env=environment, check=True, capture_output=True, text=True).stdout
        assert text.count("on the held-out images: ") == 1
        models.append(gatezoo.from_pretrained(tmp_path / name / "model"))
    one, two = models
    assert two.pretrained_cfg.metrics["miou"] == pytest.approx(one.pretrained_cfg.metrics["miou"], abs=1e-4)
    assert two.pretrained_cfg.train_data == one.pretrained_cfg.train_data
    for key, value in one.state_dict().items():
        assert torch.allclose(value.float(), two.state_dict()[key].float(), atol=1e-5), key
