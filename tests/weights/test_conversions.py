import json
import shutil

import pytest
import torch
from helpers.paths import GOLDEN as GOLDEN_FILES
from safetensors.torch import load_file, save_file

import gatezoo
from gatezoo.factory import load_model
from gatezoo.pretrained import RENAMED_RECIPE_FIELDS, upgrades
from gatezoo.recipes import Recipe
from gatezoo.weights import conversions
from gatezoo.weights.checkpoint_files import checkpoint_metadata
from gatezoo.weights.conversions import FORMAT_VERSION, convert_state_dict
from gatezoo.weights.integrity import sha256_of

GOLDEN = GOLDEN_FILES / "format1"
FORMAT_2 = GOLDEN_FILES / "format2"
IMAGE = torch.linspace(-2, 2, 3 * 64 * 64).reshape(1, 3, 64, 64)


@torch.no_grad()
def test_folder_of_format_1_gives_its_logits():
    """The files were written by that version. A rename that breaks this needs a conversion, not a new golden file."""
    assert "format_version" not in json.loads((GOLDEN / "config.json").read_text())
    model = gatezoo.create_model(f"local-dir:{GOLDEN}", pretrained=True).eval()
    assert model.pretrained_cfg.format_version == 1
    expected = load_file(GOLDEN / "logits.safetensors")["logits"]
    torch.testing.assert_close(model(IMAGE)[:, :, ::8, ::8], expected, atol=1e-4, rtol=1e-4)


# Fields of the recipe in both files of format 2, under their present names.
RECIPE = {
    "crop_size": 64,
    "head_lr_mult": 10.0,
    "iteration_loss_weight": 0.0,
    "aux_loss_weight": 0.4,
    "seg_loss_weight": 1.0,
    "depth_loss_weight": 0.0,
    "scale_loss_weight": 0.0,
    "trainable_prefix": "",
    "amp_dtype": "none",
    "eval_interval": 500,
    "checkpoint_interval": 0,
}


def check_recipe(recipe):
    assert {key: recipe[key] for key in RECIPE} == RECIPE
    assert Recipe.from_dict(recipe) == Recipe(steps=2, batch_size=4, crop_size=64, amp_dtype="none")


def test_checkpoint_of_format_2_is_read(tmp_path):
    """The metadata was written by that version of ``gatezoo train``: its key of the architecture is ``model``."""
    metadata = (FORMAT_2 / "metadata.json").read_text()
    assert json.loads(metadata)["model"] == "test_fcn"
    source, path = gatezoo.create_model("test_fcn", num_classes=2), tmp_path / "last.safetensors"
    save_file(source.state_dict(), path, {"gatezoo": metadata})
    assert checkpoint_metadata(path)["architecture"] == "test_fcn"
    check_recipe(checkpoint_metadata(path)["recipe"])
    assert checkpoint_metadata(path)["history"] == json.loads(metadata)["record"]
    model = load_model(str(path))
    cfg = model.pretrained_cfg
    assert (cfg.name, cfg.format_version, cfg.num_classes) == ("test_fcn.local", 2, 2)
    assert (cfg.class_names, cfg.palette) == (("ground", "disc"), ((0, 0, 0), (128, 0, 0)))
    check_recipe(cfg.recipe)
    report = gatezoo.load_checkpoint(gatezoo.create_model("test_fcn", num_classes=2), path)
    assert len(report.loaded) == len(source.state_dict())
    assert torch.equal(model.state_dict()["head.weight"], source.state_dict()["head.weight"])


def test_config_of_format_2_is_read(tmp_path):
    config = json.loads((FORMAT_2 / "config.json").read_text())
    assert (config["format_version"], config["pretrained_cfg"]["recipe"]["crop"]) == (2, 64)
    source, path = gatezoo.create_model("test_fcn", num_classes=2), tmp_path / "model.safetensors"
    save_file(source.state_dict(), path)
    config["pretrained_cfg"] |= {"size": path.stat().st_size, "sha256": sha256_of(path)}
    (tmp_path / "config.json").write_text(json.dumps(config))
    model = gatezoo.create_model(f"local-dir:{tmp_path}", pretrained=True)
    assert (model.pretrained_cfg.format_version, model.num_classes) == (2, 2)
    check_recipe(model.pretrained_cfg.recipe)
    # Saved again, it is of the present format.
    config = json.loads((gatezoo.save_pretrained(model, tmp_path / "again") / "config.json").read_text())
    assert config["format_version"] == FORMAT_VERSION
    check_recipe(config["pretrained_cfg"]["recipe"])
    assert not set(config["pretrained_cfg"]["recipe"]) & set(RENAMED_RECIPE_FIELDS)


def test_renamed_keyword_of_a_builder_is_read_under_both_names(tmp_path):
    model = gatezoo.create_model("test_deeplabv3", num_classes=2, dilate_stage_entries=True)
    assert model.model_kwargs["dilate_stage_entries"] is True
    folder = gatezoo.save_pretrained(model, tmp_path / "m")
    text = (folder / "config.json").read_text()
    assert "dilate_stage_entries" in text
    (folder / "config.json").write_text(text.replace("dilate_stage_entries", "dilate_entries"))
    again = gatezoo.create_model(f"local-dir:{folder}", pretrained=True)
    assert again.model_kwargs == model.model_kwargs | {"in_chans": 3}
    metadata = {"model": "test_deeplabv3", "num_classes": 2, "mean": [0.5] * 3, "std": [0.5] * 3}
    metadata |= {"model_kwargs": {"dilate_entries": True}}
    save_file(model.state_dict(), tmp_path / "w.safetensors", {"gatezoo": json.dumps(metadata)})
    assert load_model(str(tmp_path / "w.safetensors")).model_kwargs["dilate_stage_entries"] is True


def test_saved_config_has_format_and_package_versions(tmp_path):
    model = gatezoo.create_model("test_fcn", num_classes=2)
    config = json.loads((gatezoo.save_pretrained(model, tmp_path / "m") / "config.json").read_text())
    assert config["format_version"] == FORMAT_VERSION
    assert set(config["pretrained_cfg"]["versions"]) == {"torch", "torchvision", "timm", "safetensors"}
    assert gatezoo.create_model(f"local-dir:{tmp_path / 'm'}", pretrained=True).pretrained_cfg.format_version == 3


@torch.no_grad()
def test_conversion_renames_tensors_of_an_old_file(tmp_path, monkeypatch):
    """The golden folder again, as if the names of the head's tensors had been others."""
    folder = shutil.copytree(GOLDEN, tmp_path / "old")
    tensors = load_file(folder / "model.safetensors")
    old = {key.replace("head.", "classifier."): value for key, value in tensors.items()}
    assert old.keys() != tensors.keys()
    save_file(old, folder / "model.safetensors")
    config = json.loads((folder / "config.json").read_text())
    config["pretrained_cfg"] |= {
        "size": (folder / "model.safetensors").stat().st_size,
        "sha256": sha256_of(folder / "model.safetensors"),
    }
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match=r"missing .*unexpected"):
        gatezoo.create_model(f"local-dir:{folder}", pretrained=True)

    def rename(tensors):
        return {key.replace("classifier.", "head."): value for key, value in tensors.items()}

    monkeypatch.setitem(conversions._CONVERSIONS, "fcn", {1: rename})
    model = gatezoo.create_model(f"local-dir:{folder}", pretrained=True).eval()
    expected = load_file(GOLDEN / "logits.safetensors")["logits"]
    torch.testing.assert_close(model(IMAGE)[:, :, ::8, ::8], expected, atol=1e-4, rtol=1e-4)


def test_conversions_are_chained_up_to_the_present_format(monkeypatch):
    monkeypatch.setattr(conversions, "FORMAT_VERSION", 4)
    monkeypatch.setattr(upgrades, "FORMAT_VERSION", 4)
    steps = {1: lambda t: {k + "b": v for k, v in t.items()}, 3: lambda t: {k + "d": v for k, v in t.items()}}
    monkeypatch.setitem(conversions._CONVERSIONS, "some", steps)
    assert convert_state_dict({"a": 1}, "some", 1) == {"abd": 1}
    assert convert_state_dict({"a": 1}, "some", 2) == {"ad": 1}
    assert convert_state_dict({"a": 1}, "some", 4) == {"a": 1}
    assert convert_state_dict({"a": 1}, "other", 1) == {"a": 1}


@pytest.mark.parametrize("version", [0, -1, True, "2", 1.0, None])
def test_version_must_be_a_number(version):
    with pytest.raises(ValueError, match="format_version must be a whole number, at least 1"):
        convert_state_dict({}, "fcn", version)


def test_newer_format_needs_a_newer_gatezoo():
    with pytest.raises(ValueError, match=f"at most {FORMAT_VERSION}; got 99: made by a newer gatezoo"):
        convert_state_dict({}, "fcn", 99)


def test_error_of_unknown_names_gives_the_timm_version_of_the_file(tmp_path):
    model = gatezoo.create_model("test_fcn", num_classes=2)
    folder = gatezoo.save_pretrained(model, tmp_path / "m")
    tensors = load_file(folder / "model.safetensors")
    save_file({key.replace("conv1", "conv_1"): value for key, value in tensors.items()}, folder / "model.safetensors")
    config = json.loads((folder / "config.json").read_text())
    cfg = config["pretrained_cfg"]
    cfg["size"] = (folder / "model.safetensors").stat().st_size
    cfg["sha256"] = sha256_of(folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match="use a checkpoint of this model") as caught:
        gatezoo.create_model(f"local-dir:{folder}", pretrained=True)
    assert "They were made with" not in str(caught.value)
    cfg["versions"]["timm"] = "0.9.2"
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match=r"They were made with timm 0\.9\.2 and this is timm .*: .* use timm==0\.9\.2"):
        gatezoo.create_model(f"local-dir:{folder}", pretrained=True)
