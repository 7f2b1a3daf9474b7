"""From a user's folder of images, in names of its own, to a repository, without a further option on the way."""

import json
import shutil

import numpy as np
import pytest
from helpers.commands import run
from helpers.paths import ROOT
from PIL import Image, ImageDraw

import gatezoo
from gatezoo import pretrained


def draw_eyes(root):
    """Draw 20 eyes with a few vessels, as ``images/21_training.tif`` beside ``1st_manual/21_manual1.gif`` of 0, 255."""
    random = np.random.default_rng(0)
    (root / "images").mkdir(parents=True)
    (root / "1st_manual").mkdir()
    for number in range(21, 41):
        image, mask = Image.new("RGB", (96, 88), (20, 10, 5)), Image.new("L", (96, 88))
        pen, ink = ImageDraw.Draw(image), ImageDraw.Draw(mask)
        pen.ellipse((6, 2, 90, 86), fill=(190, 110, 60))
        for end in random.integers(10, 80, (4, 2)):
            pen.line((30, 44, *map(int, end)), fill=(110, 40, 20), width=9)
            ink.line((30, 44, *map(int, end)), fill=255, width=9)
        image.save(root / f"images/{number}_training.tif")
        mask.save(root / f"1st_manual/{number}_manual1.gif")


@pytest.mark.slow
def test_eyes_go_from_a_folder_to_a_repository(hub, monkeypatch, capsys, tmp_path):
    draw_eyes(tmp_path / "eyes")
    out, manifest = tmp_path / "run", shutil.copy(ROOT / pretrained.MANIFEST, tmp_path / "manifest.json")
    files = ("--images", "images/*_training.tif", "--labels", "1st_manual/*_manual1.gif")
    labels = ("--classes", "background,vessel", "--ids", "0=0", "--ids", "255=1")
    training = ("--steps", 30, "-b", 4, "--crop", 64, "--amp", "none", "-j", 0, "--data-license", "CC0 1.0")
    code, printed, err = run(
        monkeypatch, capsys, "finetune", "dignet_lite0_8s", "--data", tmp_path / "eyes", "--out", out,
        *files, *labels, *training,
    )  # fmt: skip
    assert code == 0, err
    assert "16 images to train on, 4 held out" in printed
    cfg = gatezoo.from_pretrained(out / "model").pretrained_cfg
    assert cfg.metrics["miou"] > 0.4  # .03 before
    # The scores can be measured again, on the files as they are.
    code, _, err = run(
        monkeypatch, capsys, "eval", f"local-dir:{out / 'model'}", "--data", tmp_path / "eyes", *files, "-j", 0
    )
    assert code == 0, err
    code, _, err = run(
        monkeypatch, capsys, "publish", out / "model", "--repo", "org/dignet.eyes", "--manifest", manifest, "--yes"
    )
    assert code == 0, err
    entry = json.loads((tmp_path / "manifest.json").read_text())["weights"]["dignet_lite0_8s.eyes"]
    assert entry["license"] == "CC-BY-NC-4.0"
    assert entry["base_model"].startswith("dignet_lite0_8s.camvid, license CC-BY-NC-4.0, trained on CamVid")
    assert entry["data_license"] == "CC0 1.0"
    assert entry["train_data"].startswith("eyes, 16 images, 4 more held out; pixels: background ")
    assert entry["metrics"] == cfg.metrics
    assert entry["metrics"]["protocol"].startswith("eyes, held-out images; mode whole images")
    assert "1st_manual/*_manual1.gif" in entry["command"]
    published = gatezoo.create_model("hf-hub:org/dignet.eyes", pretrained=True)
    found = gatezoo.predict(published, tmp_path / "eyes/images/21_training.tif")
    truth = np.array(Image.open(tmp_path / "eyes/1st_manual/21_manual1.gif").convert("L")) == 255
    assert (np.asarray(found) == truth).mean() > 0.7
