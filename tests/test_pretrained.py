import dataclasses
import json
import math
import os
import shlex
import subprocess
import sys
import zipfile

import numpy as np
import pytest
import typer
from helpers.manifest import use_manifest
from helpers.paths import ROOT
from safetensors import safe_open

import gatezoo
from gatezoo import pretrained
from gatezoo.cli.app import app
from gatezoo.model_info import count_parameters, describe, on_meta
from gatezoo.pretrained import (
    FORMAT_VERSION,
    RENAMED_RECIPE_FIELDS,
    PretrainedCfg,
    upgrade_metadata,
    upgrade_recipe,
)
from gatezoo.recipes import Recipe
from gatezoo.weights.integrity import keys_sha256, sha256_of

COMMIT = "0123456789" * 4
GOLDEN = json.loads((ROOT / "tests/golden/pretrained.json").read_text())
ENTRY = {
    field.name: getattr(PretrainedCfg("a", "b", 1, (0.5,), (0.5,)), field.name)
    for field in dataclasses.fields(PretrainedCfg)
    if field.name not in ("architecture", "tag")
} | dict(class_names=["x"], palette=[[1, 2, 3]], license="CC0-1.0", sources=["bundled:f"], size=1, sha256="0" * 64)


def test_complete_entry_is_read():
    cfg = PretrainedCfg.from_dict("net.tag", ENTRY)
    assert (cfg.architecture, cfg.tag, cfg.name) == ("net", "tag", "net.tag")
    assert cfg.palette == ((1, 2, 3),)


def test_every_form_gives_the_record_back():
    texts = ("train_data", "command", "license", "data_license", "base_model")
    cfg = PretrainedCfg(
        "net", "tag", 2, (0.1, 0.2), (0.3, 0.4), class_names=["x", "\u00e9\u00a0t"], palette=[[1, 2, 3], (4, 5, 6)],
        in_chans=2, interpolation="nearest", ignore_index=9, file="f", size=7, sha256="a" * 64, keys_sha256="b" * 64,
        sources=("bundled:f",), recipe={"steps": 2, "scale_range": [0.5, 2.0]}, metrics={"miou": 0.5, "iou": [None, 1]},
        versions={"torch": "2"}, label_format={"ids": {"255": 0}}, image_max=4095.0, format_version=2,
        **{key: key for key in texts},
    )  # fmt: skip
    plain = PretrainedCfg("net", "tag", 2, (0.1, 0.2), (0.3, 0.4), in_chans=2)
    same = {field.name for field in dataclasses.fields(cfg) if getattr(cfg, field.name) == getattr(plain, field.name)}
    assert same == {"architecture", "tag", "num_classes", "mean", "std", "in_chans"}, "all others are not the default"

    def stored(fields):
        return json.loads(json.dumps(fields, allow_nan=False))

    assert PretrainedCfg.from_dict("net.tag", stored(cfg.to_dict())) == cfg
    of_folder = dataclasses.replace(cfg, tag="local", file="", sources=("local-dir:x",), format_version=1)
    assert PretrainedCfg.from_config("net", stored(cfg.to_config()), "local-dir:x") == of_folder
    no_file = dict(size=0, sha256="", keys_sha256="", sources=(), metrics={})
    of_checkpoint = dataclasses.replace(cfg, tag="local", file="w", **no_file, format_version=FORMAT_VERSION)
    assert PretrainedCfg.from_checkpoint("w", stored(cfg.to_checkpoint_metadata())) == of_checkpoint


def test_older_entry_has_defaults_for_what_it_lacks():
    lacking = ("base_model", "label_format", "image_max")
    cfg = PretrainedCfg.from_dict("net.tag", {key: value for key, value in ENTRY.items() if key not in lacking})
    assert (cfg.base_model, cfg.label_format, cfg.image_max) == ("", {}, None)


def test_base_model_is_named_with_its_license():
    data = {"train_data": "CamVid, 367 images", "data_license": "research"}
    cfg = PretrainedCfg.from_dict("net.tag", ENTRY | data)
    text = cfg.describe_as_base()
    assert text == "net.tag, license CC0-1.0, trained on CamVid, 367 images (research)"
    on_hub = dataclasses.replace(cfg, tag="local", sources=(f"hf-hub:org/repo@{COMMIT}/model.safetensors",))
    assert on_hub.describe_as_base().startswith(f"hf-hub:org/repo@{COMMIT}, license CC0-1.0")
    # However often weights are fine-tuned, the text names the first and does not grow.
    own = dataclasses.replace(cfg, tag="local", sources=(), base_model=text)
    assert own.describe_as_base() == text
    assert dataclasses.replace(own, base_model="", license="", train_data="", data_license="").describe_as_base() == (
        "net.local, license unknown, trained on unknown data (unknown license)"
    )


def test_info_shows_the_labels_of_the_weights(monkeypatch):
    labels = {"class_names": ["x"], "label_format": {"ids": {"255": 0}}}
    cfg = PretrainedCfg.from_dict("test_fcn.tag", ENTRY | labels)
    use_manifest(monkeypatch, cfg)
    assert describe("test_fcn")["weights .tag"].endswith("; CC0-1.0; labels: ids 255 = x")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sha256": None}, "must have sha256; got none"),
        ({"color": 1}, "a field of a record must be one that this version knows; got 'color'"),
        ({"license": ""}, "license must be given; got ''"),
        ({"size": 0}, "size must be given; got 0"),
        ({"sha256": "0" * 63}, "sha256 must be 64 hex digits"),
        ({"num_classes": 2}, "class_names must be one for each of 2 classes; got 1"),
        ({"class_names": [], "palette": []}, r"class_names must be given; got \[\]"),
        ({"file": "../x.safetensors"}, "file must be the name of a file, without a folder; got '../x"),
        ({"sources": ["bundled:../x"]}, "sources must be bundled:FILE, hf-hub:.*; got 'bundled:../x'"),
        ({"sources": ["local-dir:/etc/passwd"]}, "sources must be bundled, on the Hub or on an https server"),
        ({"sources": ["file:///etc/passwd"]}, "sources must be bundled:FILE"),
        ({"metrics": {"miou": math.nan}}, "miou must be finite; got nan"),
    ],
)
def test_invalid_entry_is_refused(changes, message):
    entry = {**ENTRY, **changes}
    entry = {key: value for key, value in entry.items() if value is not None}
    with pytest.raises(ValueError, match=f"entry 'net.tag' of the manifest must be a valid record: .*{message}"):
        PretrainedCfg.from_dict("net.tag", entry)


OLD_RECIPE = {
    "steps": 2,
    "crop": 64,
    "scale": [0.5, 2.0],
    "new_lr_factor": 5.0,
    "pass_loss": 0.5,
    "aux_loss": 0.3,
    "label_loss": 0.2,
    "depth_loss": 0.1,
    "scale_loss": 0.4,
    "train_only": "head",
    "amp": "fp16",
    "eval_every": 7,
    "recovery_interval": 3,
}
NEW_RECIPE = {
    "steps": 2,
    "crop_size": 64,
    "scale_range": [0.5, 2.0],
    "head_lr_mult": 5.0,
    "iteration_loss_weight": 0.5,
    "aux_loss_weight": 0.3,
    "seg_loss_weight": 0.2,
    "depth_loss_weight": 0.1,
    "scale_loss_weight": 0.4,
    "trainable_prefix": "head",
    "amp_dtype": "fp16",
    "eval_interval": 7,
    "checkpoint_interval": 3,
}


def test_old_recipe_is_read_under_new_names():
    assert set(OLD_RECIPE) == {"steps", *RENAMED_RECIPE_FIELDS}
    assert upgrade_recipe(OLD_RECIPE) == upgrade_recipe(NEW_RECIPE) == NEW_RECIPE
    assert Recipe.from_dict(upgrade_recipe(OLD_RECIPE)).head_lr_mult == 5
    assert upgrade_recipe({"amp": True}) == {"amp_dtype": "bf16"}
    assert upgrade_recipe({"amp": False}) == {"amp_dtype": "none"}
    assert PretrainedCfg.from_dict("net.tag", ENTRY | {"recipe": OLD_RECIPE}).recipe["crop_size"] == 64
    cfg = {"num_classes": 1, "mean": [0.5], "std": [0.5], "recipe": OLD_RECIPE, "size": 1, "sha256": "0" * 64}
    assert PretrainedCfg.from_config("net", cfg, "local-dir:x").recipe["trainable_prefix"] == "head"


@pytest.mark.parametrize("key", ["model", "architecture"])
def test_checkpoint_metadata_is_read_with_both_keys_of_the_architecture(key):
    metadata = {key: "net", "num_classes": 1, "mean": [0.5], "std": [0.5], "recipe": OLD_RECIPE, "step": 2}
    facts = {"label_format": {"ids": {"255": 0}}, "image_max": 4095, "base_model": "b", "command": "c", "license": "l"}
    cfg = PretrainedCfg.from_checkpoint("last.safetensors", metadata | facts)
    assert {key: getattr(cfg, key) for key in facts} == facts
    cfg = PretrainedCfg.from_checkpoint("last.safetensors", metadata)
    assert (cfg.label_format, cfg.image_max) == ({}, None)
    assert (cfg.name, cfg.file, cfg.format_version, cfg.recipe) == ("net.local", "last.safetensors", 1, NEW_RECIPE)
    assert upgrade_metadata(metadata)["step"] == 2
    assert "model" not in upgrade_metadata(metadata)
    with pytest.raises(ValueError, match="architecture must be given under one name; got 'model'"):
        upgrade_metadata({"model": "net", "architecture": "other"})


def test_checkpoint_without_metadata_has_the_fallback_config():
    fallback = PretrainedCfg.from_dict("net.tag", ENTRY)
    assert PretrainedCfg.from_checkpoint("w.safetensors", {}, fallback) is fallback
    assert PretrainedCfg.from_checkpoint("w.safetensors", {}) is None


def shares(model):
    classes = gatezoo.predict(model, ROOT / "tests/golden/probe.png")
    return np.bincount(classes.ravel(), minlength=model.num_classes) / classes.size


def scores(model):
    return gatezoo.predict_instances(model, ROOT / "tests/golden/probe.png", score_threshold=0, max_detections=5)[
        "scores"
    ]


PROBES = {("semantic", "shares"): shares, ("instance", "scores"): scores}


@pytest.mark.parametrize("name", gatezoo.list_pretrained())
def test_published_weights_match_their_entry(name):
    model = gatezoo.create_model(name, pretrained=True).eval()
    cfg = model.pretrained_cfg
    assert keys_sha256({key: tuple(value.shape) for key, value in model.state_dict().items()}) == cfg.keys_sha256
    assert len(cfg.class_names) == model.num_classes
    assert all(source.startswith(("bundled:", "hf-hub:")) for source in cfg.sources)
    # A synthetic street (sky, a dark patch, a gray ramp, stripes) gives the classes that it gave on publication.
    (kind,) = GOLDEN[name]
    np.testing.assert_allclose(PROBES[model.task, kind](model), GOLDEN[name][kind], atol=2e-3)


@pytest.mark.parametrize("name", pretrained.manifest())
def test_manifest_matches_the_bundled_files(name):
    cfg = pretrained.manifest()[name]
    path = pretrained.BUNDLED / cfg.sources[0].removeprefix("bundled:")
    assert (path.stat().st_size, sha256_of(path)) == (cfg.size, cfg.sha256)
    with safe_open(path, "pt") as file:
        shapes = {key: tuple(file.get_slice(key).get_shape()) for key in file.keys()}  # noqa: SIM118 - not a dict
    assert keys_sha256(shapes) == cfg.keys_sha256
    model = on_meta(cfg.architecture, num_classes=cfg.num_classes)
    # Buffers are statistics of batch norm and thresholds between depths.
    buffers = {key for key, _ in model.named_buffers()}
    assert sum(math.prod(shape) for key, shape in shapes.items() if key not in buffers) == count_parameters(model)
    assert len(cfg.class_names) == cfg.num_classes
    assert (cfg.num_classes,) in shapes.values()  # the bias of a classifier
    assert cfg.format_version == FORMAT_VERSION
    fields = {field.name for field in dataclasses.fields(Recipe)} | {"step", "thresholds"}
    assert set(cfg.recipe) <= fields
    assert cfg.license
    assert cfg.data_license
    if cfg.metrics:
        assert cfg.command.count(cfg.architecture) >= 1
        assert cfg.metrics["protocol"]
        if model.task == "semantic":
            assert cfg.metrics["miou"] == pytest.approx(np.mean(cfg.metrics["iou"]), abs=1e-4)
        else:
            stricter = (cfg.metrics["mask_ap"], cfg.metrics["mask_ap75"])
            assert 0 < min(stricter) < max(stricter) < cfg.metrics["mask_ap50"] < 1


@pytest.mark.parametrize("name", pretrained.manifest())
def test_commands_of_the_manifest_have_valid_options(name):
    commands = typer.main.get_command(app).commands
    for line in pretrained.manifest()[name].command.split(";"):
        program, command, *arguments = shlex.split(line)
        assert program == "gatezoo"
        commands[command].make_context(command, arguments)


def test_entry_is_replaced_in_its_place(tmp_path):
    path = tmp_path / "m.json"
    path.write_text(json.dumps({"format_version": 1, "weights": {"net.a": ENTRY, "net.b": ENTRY}}))
    cfg = PretrainedCfg.from_dict("net.a", ENTRY | {"license": "MIT"})
    pretrained.replace_entry(path, cfg)
    pretrained.replace_entry(path, dataclasses.replace(cfg, tag="c"))
    content = json.loads(path.read_text())
    assert content["format_version"] == 1
    assert [(name, entry["license"]) for name, entry in content["weights"].items()] == [
        ("net.a", "MIT"),
        ("net.b", "CC0-1.0"),
        ("net.c", "MIT"),
    ]
    assert PretrainedCfg.from_dict("net.a", content["weights"]["net.a"]) == cfg
    assert "label_format" not in content["weights"]["net.a"]
    ids = {"ids": {"0": 0}}
    pretrained.replace_entry(path, dataclasses.replace(cfg, label_format=ids))
    assert json.loads(path.read_text())["weights"]["net.a"]["label_format"] == ids
    (tmp_path / "n.json").write_text("{}")
    with pytest.raises(ValueError, match="a manifest must be JSON with the key 'weights'"):
        pretrained.replace_entry(tmp_path / "n.json", cfg)


def test_bundled_files_are_small_and_in_the_manifest():
    files = list((ROOT / "gatezoo/bundled").glob("*.safetensors"))
    sources = {source for cfg in pretrained.manifest().values() for source in cfg.sources}
    assert {f"bundled:{path.name}" for path in files} == {s for s in sources if s.startswith("bundled:")}
    assert all(path.stat().st_size < 12e6 for path in files)
    assert sum(path.stat().st_size for path in files) < 40e6


def test_sha256(tmp_path):
    (tmp_path / "f").write_bytes(b"abc")
    assert sha256_of(tmp_path / "f") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_installed_wheel_works_outside_of_the_checkout(tmp_path):
    """Manifest and weights are in the wheel, and nothing is read from the checkout."""
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    subprocess.run([*pip, "wheel", "--no-deps", "--no-build-isolation", "-w", tmp_path / "dist", ROOT], check=True)
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert {"gatezoo/weights_manifest.json", "gatezoo/py.typed", "gatezoo/bundled/nuclei.jpg"} <= set(names)
    assert not any(name.startswith("tests") for name in names)
    subprocess.run([*pip, "install", "--no-deps", "--target", tmp_path / "site", wheel], check=True)
    code = (
        "import gatezoo, pathlib; assert 'site' in gatezoo.__file__, gatezoo.__file__;"
        "m = gatezoo.create_model('dignet_lite0_8s', pretrained=True); print(m.pretrained_cfg.name)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path / "site"), "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
    )
    assert done.stdout.strip() == "dignet_lite0_8s.camvid", done.stderr
