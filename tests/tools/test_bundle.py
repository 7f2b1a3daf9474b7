"""Bundling: a checkpoint becomes weights of the package, measured as a user would load them."""

import json
import shutil
import sys

import pytest
import torch
from helpers.manifest import use_manifest_file
from helpers.paths import ROOT
from safetensors.torch import load_file

import gatezoo
from gatezoo import pretrained
from gatezoo.data import FolderDataset
from gatezoo.data.splits import create_splits
from gatezoo.metrics import CalibrationMetric
from gatezoo.recipes.recipe import Recipe
from gatezoo.training import ModelSource, RunOptions
from gatezoo.training.launch import train_model
from gatezoo.weights import sources
from gatezoo.weights.integrity import sha256_of

sys.path.append(str(ROOT / "tools"))

import bundle

OPTIONS = {
    "tag": "discs",
    "train-data": "Discs, 18 images",
    "protocol": "Discs, 24 images",
    "license": "CC0-1.0",
    "data-license": "CC0 1.0",
    "command": "gatezoo train test_dignet",
}


def test_bundled_checkpoint_has_the_metrics_of_its_rounded_weights(shapes, tmp_path, monkeypatch, capsys):
    data = create_splits(shapes, classes="ground,disc")
    recipe = Recipe(steps=3, batch_size=2, crop_size=48, amp_dtype="none", eval_interval=3)
    train_model(ModelSource("test_dignet"), *data, recipe, RunOptions(tmp_path / "run", workers=0))
    manifest = shutil.copy(ROOT / pretrained.MANIFEST, tmp_path / "manifest.json")
    golden = shutil.copy(bundle.GOLDEN, tmp_path / "golden.json")
    use_manifest_file(monkeypatch, manifest)
    (tmp_path / "bundled").mkdir()
    for module in (pretrained, sources):
        monkeypatch.setattr(module, "BUNDLED", tmp_path / "bundled")
    monkeypatch.setattr(bundle, "MANIFEST", manifest)
    monkeypatch.setattr(bundle, "GOLDEN", golden)
    checkpoint = tmp_path / "run/last.safetensors"
    options = [word for key, value in OPTIONS.items() for word in (f"--{key}", value)]
    monkeypatch.setattr(sys, "argv", ["bundle.py", str(checkpoint), "--data-dir", str(shapes), *options])
    bundle.main()
    assert "test_dignet.discs: " in capsys.readouterr().out

    entry = json.loads(manifest.read_text())["weights"]["test_dignet.discs"]
    file = tmp_path / "bundled/test_dignet.discs.safetensors"
    assert entry["sources"] == ["bundled:test_dignet.discs.safetensors"]
    assert (entry["size"], entry["sha256"]) == (file.stat().st_size, sha256_of(file))
    assert (entry["license"], entry["command"]) == ("CC0-1.0", "gatezoo train test_dignet")
    assert (entry["recipe"]["steps"], entry["recipe"]["step"]) == (3, 3)
    stored, trained = load_file(file), load_file(checkpoint)
    assert {value.dtype for value in stored.values() if value.is_floating_point()} == {torch.float16}
    assert all(torch.equal(stored[key], value.to(stored[key].dtype)) for key, value in trained.items())
    model = gatezoo.create_model("test_dignet.discs", pretrained=True)
    data, metrics = FolderDataset(shapes, 2), entry["metrics"]
    calibration = [CalibrationMetric()]
    passes = gatezoo.evaluate(model, data, metrics=calibration, iterations=10, all_iterations=True).by_iteration
    for key in ("miou", "ece"):
        assert metrics[f"{key}_by_iterations"] == [round(scores[key], 4) for scores in passes[:4]]
        assert metrics[key] == pytest.approx(passes[model.iterations - 1][key], abs=5e-5)
    auto = gatezoo.evaluate(model, data, iterations="auto")
    assert metrics["auto"] == {
        "iterations": round(auto.protocol["mean_iterations"], 2),
        "miou": round(auto.miou, 4),
        "max_iterations": 10,
        "miou_at_max_iterations": round(passes[-1].miou, 4),
    }
    assert json.loads(golden.read_text())["test_dignet.discs"] == bundle.shares(model)

    # Measured again, by name.
    content = json.loads(manifest.read_text())
    content["weights"]["test_dignet.discs"]["metrics"] = {}
    manifest.write_text(json.dumps(content))
    arguments = ["test_dignet.discs", "--data-dir", str(shapes), "--protocol", "Discs, 24 images"]
    monkeypatch.setattr(sys, "argv", ["bundle.py", *arguments])
    bundle.main()
    assert json.loads(manifest.read_text())["weights"]["test_dignet.discs"] == entry
    monkeypatch.setattr(sys, "argv", ["bundle.py", str(checkpoint), *arguments[1:], "--tag", "x"])
    with pytest.raises(SystemExit):
        bundle.main()
    assert "not bundled yet: pass --train-data, --license, --data-license, --command" in capsys.readouterr().err
