"""What a fine-tuned network remembers: the encoding of its labels, its license and where its weights come from."""

import dataclasses
import json
import shutil

import numpy as np
import pytest
from helpers.commands import run
from PIL import Image

import gatezoo
from gatezoo.cli.option_groups import LabelOptions
from gatezoo.data import FolderDataset
from gatezoo.pretrained import PretrainedCfg
from gatezoo.publishing.model_folder import save_pretrained

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
        "--crop", 48, "--lr", 0.02, "--image-max", 4095, "--amp", "none", "-j", 0,
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
    with pytest.raises(ValueError, match=r"images need labels/STEM\.png"):
        miou(model, masks / "val")
    assert miou(model, masks / "val", label_suffix="_m.png") != pytest.approx(reported, abs=0.01)


def test_fine_tuned_folder_keeps_license_and_origin(finetuned, masks, monkeypatch, capsys, tmp_path):
    folder, _ = finetuned
    cfg = gatezoo.create_model(f"local-dir:{folder}", pretrained=True).pretrained_cfg
    assert (cfg.license, cfg.base_model) == ("CC-BY-NC-4.0", BASE)
    # Nothing is claimed about the new data that was true of the old.
    assert (cfg.train_data, cfg.data_license) == ("", "")
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
        monkeypatch, capsys, "finetune", "dignet_mobilenetv2_8s", "--data", masks, "--classes",
        tmp_path / "classes.txt", "--label-suffix", "_m.png", "--out", tmp_path / "out",
    )  # fmt: skip
    assert code == 2
    assert "class names must be printable, without tabs" in err
    assert len(err.strip().splitlines()) == 1
    assert not (tmp_path / "out").exists()
