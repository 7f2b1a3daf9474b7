import json
import shutil

import pytest
import torch
from helpers.paths import GOLDEN as GOLDEN_FILES
from safetensors.torch import load_file, save_file

import gatezoo
from gatezoo.weights import conversions
from gatezoo.weights.conversions import FORMAT_VERSION, convert_state_dict
from gatezoo.weights.integrity import sha256_of

GOLDEN = GOLDEN_FILES / "format1"
IMAGE = torch.linspace(-2, 2, 3 * 64 * 64).reshape(1, 3, 64, 64)


@torch.no_grad()
def test_a_folder_of_the_first_format_gives_the_logits_it_gave_then():
    """Written by the code of that time. A rename that breaks this needs a conversion, not a new golden file."""
    assert "format_version" not in json.loads((GOLDEN / "config.json").read_text())
    model = gatezoo.create_model(f"local-dir:{GOLDEN}", pretrained=True).eval()
    assert model.pretrained_cfg.format_version == 1
    expected = load_file(GOLDEN / "logits.safetensors")["logits"]
    torch.testing.assert_close(model(IMAGE)[:, :, ::8, ::8], expected, atol=1e-4, rtol=1e-4)


def test_what_is_written_now_tells_its_format_and_the_versions_that_shaped_it(tmp_path):
    model = gatezoo.create_model("test_fcn", num_classes=2)
    config = json.loads((gatezoo.save_pretrained(model, tmp_path / "m") / "config.json").read_text())
    assert config["format_version"] == FORMAT_VERSION
    assert set(config["pretrained_cfg"]["versions"]) == {"torch", "torchvision", "timm", "safetensors"}
    assert gatezoo.create_model(f"local-dir:{tmp_path / 'm'}", pretrained=True).pretrained_cfg.format_version == 2


@torch.no_grad()
def test_a_conversion_renames_what_an_old_file_holds(tmp_path, monkeypatch):
    """The golden folder once more, as if the head's tensors had been called otherwise then."""
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


def test_conversions_follow_each_other_up_to_the_present_format(monkeypatch):
    monkeypatch.setattr(conversions, "FORMAT_VERSION", 4)
    steps = {1: lambda t: {k + "b": v for k, v in t.items()}, 3: lambda t: {k + "d": v for k, v in t.items()}}
    monkeypatch.setitem(conversions._CONVERSIONS, "some", steps)
    assert convert_state_dict({"a": 1}, "some", 1) == {"abd": 1}
    assert convert_state_dict({"a": 1}, "some", 2) == {"ad": 1}
    assert convert_state_dict({"a": 1}, "some", 4) == {"a": 1}
    assert convert_state_dict({"a": 1}, "other", 1) == {"a": 1}


@pytest.mark.parametrize("version", [0, -1, True, "2", 1.0, None])
def test_a_version_is_a_number(version):
    with pytest.raises(ValueError, match="format_version must be a whole number, at least 1"):
        convert_state_dict({}, "fcn", version)


def test_a_newer_format_asks_for_a_newer_gatezoo():
    with pytest.raises(ValueError, match=f"at most {FORMAT_VERSION}; got 99: made by a newer gatezoo"):
        convert_state_dict({}, "fcn", 99)


def test_names_that_do_not_fit_name_the_timm_that_made_them(tmp_path):
    model = gatezoo.create_model("test_fcn", num_classes=2)
    folder = gatezoo.save_pretrained(model, tmp_path / "m")
    tensors = load_file(folder / "model.safetensors")
    save_file({key.replace("conv1", "conv_1"): value for key, value in tensors.items()}, folder / "model.safetensors")
    config = json.loads((folder / "config.json").read_text())
    about = config["pretrained_cfg"]
    about["size"] = (folder / "model.safetensors").stat().st_size
    about["sha256"] = sha256_of(folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match="is it another model's") as caught:
        gatezoo.create_model(f"local-dir:{folder}", pretrained=True)
    assert "They were made with" not in str(caught.value)
    about["versions"]["timm"] = "0.9.2"
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match=r"They were made with timm 0\.9\.2 and this is timm .*: .* use timm==0\.9\.2"):
        gatezoo.create_model(f"local-dir:{folder}", pretrained=True)
