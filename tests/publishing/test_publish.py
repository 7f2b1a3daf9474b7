"""From a checkpoint to a repository and an entry of the manifest, against a loopback hub."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from helpers.commands import run
from helpers.manifest import use_manifest, use_manifest_file
from helpers.paths import ROOT
from huggingface_hub import snapshot_download
from safetensors.torch import load_file, save_file

import gatezoo
from gatezoo import pretrained
from gatezoo.publishing import publish as publish_module
from gatezoo.publishing.golden import golden_image
from gatezoo.publishing.publish import build_release, publish
from gatezoo.publishing.scores import load_scores
from gatezoo.weights.integrity import sha256_of

FIELDS = {
    "license": "CC-BY-NC-4.0",
    "data_license": "CC BY-NC 4.0, research use",
    "train_data": "Discs, 24 images",
    "command": "gatezoo train test_fcn --data-dir DISCS",
}
METADATA = {
    "architecture": "test_fcn",
    "num_classes": 2,
    "in_chans": 3,
    "mean": [0.5] * 3,
    "std": [0.25] * 3,
    "class_names": ["ground", "disc"],
    "palette": [[0, 0, 0], [250, 120, 0]],
    "ignore_index": 255,
    "recipe": {"steps": 2, "lr": 0.1},
    "step": 2,
    "format_version": 3,
}


@pytest.fixture
def trained(tmp_path):
    """A checkpoint as ``gatezoo train`` writes it."""
    torch.manual_seed(6)
    path = tmp_path / "best.safetensors"
    save_file(gatezoo.create_model("test_fcn", num_classes=2).state_dict(), path, {"gatezoo": json.dumps(METADATA)})
    return path


@pytest.fixture
def manifest(tmp_path):
    return Path(shutil.copy(ROOT / pretrained.MANIFEST, tmp_path / "manifest.json"))


@pytest.fixture
def scores(trained, tmp_path):
    """As ``gatezoo eval --out`` writes them."""
    report = {
        "scores": {"miou": 0.61234, "pixel_accuracy": 0.9, "mean_accuracy": 0.7, "iou": [0.95, 0.2747]},
        "protocol": {"mode": "whole", "images": 24, "iterations": None},
        "data": {"dataset": "folder", "folder": "DISCS", "split": "val"},
        "weights": {"sha256": sha256_of(trained)},
    }
    path = tmp_path / "scores.json"
    path.write_text(json.dumps(report))
    return path


def options(scores=None):
    words = [word for key, value in FIELDS.items() for word in (f"--{key.replace('_', '-')}", value)]
    return [*words, "--tag", "discs", *(["--scores", scores] if scores else [])]


def test_checkpoint_becomes_a_repository_and_an_entry(hub, trained, manifest, scores, monkeypatch, capsys, tmp_path):
    arguments = ("publish", trained, "--repo", "org/discs", *options(scores), "--manifest", manifest)
    code, out, err = run(monkeypatch, capsys, *arguments)
    assert code == 0, err
    assert "nothing was uploaded; pass --yes to upload to org/discs" in out
    assert hub.counted() == []
    assert manifest.read_text() == (ROOT / pretrained.MANIFEST).read_text()

    code, out, err = run(monkeypatch, capsys, *arguments, "--yes")
    assert code == 0, err
    commit = hub.repos["org/discs"].refs["main"]
    source = f"hf-hub:org/discs@{commit}/model.safetensors"
    assert out.strip().endswith(f"published: {source}")
    files = hub.repos["org/discs"].commits[commit]
    assert set(files) == {"README.md", "config.json", "golden.safetensors", "model.safetensors"}

    entries = json.loads(manifest.read_text())["weights"]
    assert list(entries)[-1] == "test_fcn.discs"
    cfg = pretrained.PretrainedCfg.from_dict("test_fcn.discs", entries["test_fcn.discs"])
    assert cfg.sources == (source,)
    assert cfg.sha256 == files["model.safetensors"].sha256
    assert cfg.size == len(files["model.safetensors"].data)
    assert (cfg.license, cfg.data_license, cfg.command) == (
        FIELDS["license"],
        FIELDS["data_license"],
        FIELDS["command"],
    )
    assert cfg.metrics["miou"] == 0.6123
    assert cfg.metrics["protocol"] == "folder val; mode whole, images 24"
    assert cfg.recipe["steps"] == 2
    assert cfg.format_version == 3

    # With the entry in the manifest and an empty cache, the name needs one download.
    use_manifest(monkeypatch, cfg)
    hub.requests.clear()
    model = gatezoo.create_model("test_fcn.discs", pretrained=True)
    assert len(hub.counted("GET")) == 1
    for key, value in load_file(trained).items():
        assert torch.equal(model.state_dict()[key], value)
    hub.requests.clear()
    gatezoo.create_model("test_fcn", pretrained=True)
    assert hub.counted() == []


NAMES = ("\u00e9t\u00e9\u00a0noir", "\U0001f468\u200d\U0001f469\u200d\U0001f467")


@pytest.fixture
def model_folder(tmp_path):
    """A folder that tells all that is published: names with a no-break space and joined emoji, metrics, licenses."""
    model = gatezoo.create_model("test_fcn", num_classes=2)
    metrics = {"miou": 0.5, "iou": [0.6, None], "protocol": "discs, held-out images"}
    facts = {"class_names": NAMES, "palette": ((0, 0, 0), (250, 120, 0)), "metrics": metrics, "base_model": "a.b"}
    model.pretrained_cfg = pretrained.PretrainedCfg("test_fcn", "local", 2, (0.5,) * 3, (0.2,) * 3, **FIELDS, **facts)
    return gatezoo.save_pretrained(model, tmp_path / "model")


@pytest.mark.parametrize("scheme", ["", "local-dir:"])
def test_model_folder_is_published_without_options(hub, model_folder, manifest, monkeypatch, capsys, scheme):
    arguments = (f"{scheme}{model_folder}", "--repo", "org/test_fcn.discs", "--manifest", manifest, "--yes")
    code, _, err = run(monkeypatch, capsys, "publish", *arguments)
    assert code == 0, err
    entry = json.loads(manifest.read_text())["weights"]["test_fcn.discs"]
    assert entry["class_names"] == list(NAMES)
    assert entry["metrics"] == {"miou": 0.5, "iou": [0.6, None], "protocol": "discs, held-out images"}
    assert (entry["base_model"], entry["command"]) == ("a.b", FIELDS["command"])
    assert entry["sha256"] == sha256_of(model_folder / "model.safetensors")
    commit = hub.repos["org/test_fcn.discs"].refs["main"]
    model = gatezoo.create_model(f"hf-hub:org/test_fcn.discs@{commit}", pretrained=True)
    assert tuple(model.class_names) == NAMES
    card = hub.repos["org/test_fcn.discs"].commits[commit]["README.md"].data.decode()
    assert f"Semantic segmentation of: {', '.join(NAMES)}." in card
    assert f"| {NAMES[1]} | absent |" in card
    assert "Base model: a.b." in card


def test_scores_measured_on_a_model_folder_are_published(hub, shapes, model_folder, monkeypatch, capsys, tmp_path):
    code, _, err = run(
        monkeypatch, capsys, "eval", f"local-dir:{model_folder}", "--data", shapes, "-j", 0, "--out", tmp_path / "s"
    )
    assert code == 0, err
    metrics = load_scores(tmp_path / "s/scores.json")
    release = build_release(str(model_folder), tmp_path / "a", "org/x", fields={"metrics": metrics}, fp16=True)
    assert release.cfg.metrics["miou"] == metrics["miou"] != 0.5
    assert release.cfg.metrics["protocol"].endswith("before the weights were rounded to half precision")
    other = metrics | {"weights": {"sha256": "0" * 64}}
    with pytest.raises(ValueError, match="scores must be of the published file"):
        build_release(str(model_folder), tmp_path / "b", "org/x", fields={"metrics": other})


def test_absent_manifest_is_told_before_the_upload(hub, trained, tmp_path):
    release = build_release(str(trained), tmp_path / "out", "org/x", "discs", FIELDS)
    with pytest.raises(ValueError, match="a manifest must be JSON with the key 'weights'"):
        publish(release, "org/x", manifest=tmp_path / "absent.json")
    assert hub.counted() == []


def test_golden_image_and_logits_are_those_of_the_network(hub, trained, tmp_path):
    build_release(str(trained), tmp_path / "out", "org/x", "discs", FIELDS)
    held = load_file(tmp_path / "out/golden.safetensors")
    model = gatezoo.create_model(f"local-dir:{tmp_path / 'out'}", pretrained=True).eval()
    with torch.no_grad():
        torch.testing.assert_close(model(held["image"]), held["logits"])
    assert held["image"].shape == (1, 3, 65, 97)
    assert 1 < held["image"].max() <= 2
    assert -2 <= held["image"].min() < -1
    assert len(held["image"].unique()) > 20
    channels = golden_image(5)[0]
    assert not any(torch.equal(a, b) for i, a in enumerate(channels) for b in channels[:i])


@pytest.mark.parametrize("missing", ["license", "data_license", "train_data"])
def test_licenses_and_training_data_are_required(trained, tmp_path, missing):
    fields = {key: value for key, value in FIELDS.items() if key != missing}
    with pytest.raises(
        ValueError, match=f"{missing} of published weights must be given; .* pass --{missing.replace('_', '-')}$"
    ):
        build_release(str(trained), tmp_path / "out", "org/x", "discs", fields)


def test_invalid_releases_are_refused(trained, scores, tmp_path):
    def attempt(text, source=trained, tag="discs", **fields):
        with pytest.raises(ValueError, match=text):
            build_release(str(source), tmp_path / "out", "org/x", tag, {**FIELDS, **fields})
        assert not (tmp_path / "out").exists()

    attempt("tag must consist of letters", tag="a b")
    attempt("tag must consist of letters", tag="a.b")
    attempt("metrics must have a protocol and the command", metrics=load_scores(scores), command="")
    attempt("must be published as in the manifest: leave out", source="dignet_lite0_8s.camvid", tag=None)
    attempt("the source must have weights; test_fcn has none", source="test_fcn")
    other = tmp_path / "other.safetensors"
    save_file(load_file(trained), other, {"gatezoo": json.dumps(METADATA | {"class_names": []})})
    attempt("must have 2 class names and colors", source=other)
    attempt("scores must be of the published file", source=other, metrics=load_scores(scores))
    wide = tmp_path / "wide.safetensors"
    model = gatezoo.create_model("test_fcn", num_classes=2, head="fcn")
    save_file(model.state_dict(), wide, {"gatezoo": json.dumps(METADATA | {"model_kwargs": {"head": "fcn"}})})
    attempt("must be a registered model; .* other keywords, head", source=wide)
    (tmp_path / "wrong.json").write_text("{}")
    with pytest.raises(ValueError, match=r"scores must be the scores\.json"):
        load_scores(tmp_path / "wrong.json")
    (tmp_path / "full").mkdir()
    (tmp_path / "full/x").touch()
    with pytest.raises(ValueError, match="the folder to publish must be empty"):
        build_release(str(trained), tmp_path / "full", "org/x", "discs", FIELDS)


def test_network_with_other_logits_is_not_published(trained, tmp_path, monkeypatch):
    real = publish_module.create_model

    def wrong(*arguments, **keywords):
        model = real(*arguments, **keywords)
        with torch.no_grad():
            model.head.weight[0, 0] += 0.5
        return model

    monkeypatch.setattr(publish_module, "create_model", wrong)
    (tmp_path / "empty").mkdir()
    for folder in ("out", "empty"):
        with pytest.raises(ValueError, match="must give the trained one's logits; their error is"):
            build_release(str(trained), tmp_path / folder, "org/x", "discs", FIELDS)
    assert not (tmp_path / "out").exists()
    assert list((tmp_path / "empty").iterdir()) == []
    assert not list(tmp_path.glob(".part*"))


def test_half_precision_halves_the_file_and_keeps_the_logits(trained, tmp_path):
    whole = build_release(str(trained), tmp_path / "whole", "org/x", "discs", FIELDS)
    half = build_release(str(trained), tmp_path / "half", "org/x", "discs", FIELDS, fp16=True)
    assert half.cfg.size < 0.55 * whole.cfg.size
    assert whole.error == 0
    assert 0 < half.error < 0.02


def test_release_that_is_read_back_changed_gets_no_entry(hub, trained, manifest, tmp_path, monkeypatch):
    release = build_release(str(trained), tmp_path / "out", "org/x", "discs", FIELDS)
    before = manifest.read_text()
    hub.fail("GET", "model.safetensors", times=9, corrupt=True)
    with pytest.raises(ValueError, match="other bytes"):
        publish(release, "org/x", manifest=manifest)
    hub.faults.clear()
    golden = load_file(tmp_path / "out/golden.safetensors")
    save_file({**golden, "logits": golden["logits"] + 1}, tmp_path / "out/golden.safetensors")
    with pytest.raises(ValueError, match="must give the golden logits; their error is"):
        publish(release, "org/x", manifest=manifest)
    monkeypatch.setenv("HF_TOKEN", "hf_reader")
    with pytest.raises(ValueError, match="HF_TOKEN"):
        publish(release, "org/x", manifest=manifest)
    assert manifest.read_text() == before


def test_private_repository_stays_private(hub, trained, manifest, tmp_path, monkeypatch):
    publish(build_release(str(trained), tmp_path / "out", "org/x", "discs", FIELDS), "org/x", True, manifest)
    assert hub.repos["org/x"].private
    monkeypatch.setenv("HF_TOKEN", "")
    with pytest.raises(ValueError, match="must exist and be accessible"):
        gatezoo.from_pretrained("org/x", cache_dir=tmp_path / "empty")


@pytest.mark.slow
def test_bundled_entries_are_published_unchanged(hub, manifest, monkeypatch, capsys, tmp_path):
    code, out, err = run(monkeypatch, capsys, "publish", "--all", "--org", "org", "--manifest", manifest, "--yes")
    assert code == 0, err
    before = json.loads((ROOT / pretrained.MANIFEST).read_text())["weights"]
    entries = json.loads(manifest.read_text())["weights"]
    assert list(entries) == list(before)
    for name, entry in entries.items():
        commit = hub.repos[f"org/{name}"].refs["main"]
        # The bundled source stays first; the hub has the same file.
        assert entry["sources"] == [*before[name]["sources"], f"hf-hub:org/{name}@{commit}/model.safetensors"]
        same = entry.keys() - {"sources", "format_version"}
        assert {key: entry[key] for key in same} == {key: before[name][key] for key in same}
        assert hub.repos[f"org/{name}"].commits[commit]["model.safetensors"].sha256 == entry["sha256"]
        assert f"org/{name}@" in out
    # Publishing again changes nothing on the hub or in the manifest.
    text = manifest.read_text()
    use_manifest_file(monkeypatch, manifest)
    run(monkeypatch, capsys, "publish", "--all", "--org", "org", "--manifest", manifest, "--yes")
    assert manifest.read_text() == text


def test_published_repository_opens_with_plain_huggingface_hub(hub, trained, manifest, tmp_path):
    entry = publish(build_release(str(trained), tmp_path / "out", "org/x", "discs", FIELDS), "org/x", manifest=manifest)
    folder = Path(snapshot_download("org/x", cache_dir=tmp_path / "plain"))
    assert sha256_of(folder / "model.safetensors") == entry.sha256
    assert torch.equal(load_file(folder / "model.safetensors")["head.bias"], load_file(trained)["head.bias"])


@pytest.mark.parametrize(
    "arguments", [(), ("x.safetensors",), ("--all",), ("x.safetensors", "--all", "--org", "o", "--repo", "o/r")]
)
def test_publish_command_requires_a_source_and_a_repository(monkeypatch, capsys, arguments):
    code, _, err = run(monkeypatch, capsys, "publish", *arguments)
    assert code == 2
    assert "publish takes a SOURCE with --repo ORG/NAME, or --all with --org ORG" in err
    assert len(err.strip().splitlines()) == 1
