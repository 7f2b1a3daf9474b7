import json

import pytest
import torch

import gatezoo
from gatezoo.publishing.model_folder import save_pretrained


@pytest.fixture
def folder(tmp_path):
    model = gatezoo.create_model("test_dignet", num_classes=3, iterations=3, shallowest=2).eval()
    return model, save_pretrained(model, tmp_path / "saved")


def test_folder_gives_the_network_back(folder):
    model, path = folder
    again = gatezoo.create_model(f"local-dir:{path}", pretrained=True).eval()
    image = torch.randn(1, 3, 64, 64)
    assert again.iterations == 3
    assert torch.equal(model(image), again(image))
    assert again.architecture == "test_dignet"
    config = json.loads((path / "config.json").read_text())
    assert "pretrained_backbone" not in config["model_args"]


def test_keywords_of_the_caller_take_precedence(folder):
    _, path = folder
    other = gatezoo.create_model(f"local-dir:{path}", pretrained=True, num_classes=5, iterations=1)
    assert (other.num_classes, other.iterations) == (5, 1)
    assert "head.weight" in other.load_report.reinitialised
    random = gatezoo.create_model(f"local-dir:{path}")
    assert random.load_report is None
    assert random.num_classes == 3


def test_pretrained_cfg_is_saved_with_the_weights(tmp_path):
    model = gatezoo.create_model("dignet_mobilenetv2_8s", pretrained=True)
    again = gatezoo.create_model(f"local-dir:{save_pretrained(model, tmp_path / 'saved')}", pretrained=True)
    for field in ("mean", "std", "class_names", "palette", "ignore_index", "license"):
        assert getattr(again.pretrained_cfg, field) == getattr(model.pretrained_cfg, field)
    other = gatezoo.create_model("dignet_mobilenetv2_8s", pretrained=True, num_classes=2)
    again = gatezoo.create_model(f"local-dir:{save_pretrained(other, tmp_path / 'o', ['a', 'b'])}", pretrained=True)
    assert again.pretrained_cfg.class_names == ("a", "b")
    assert again.pretrained_cfg.mean == model.pretrained_cfg.mean
    assert again.pretrained_cfg.metrics == {}
    with pytest.raises(ValueError, match="class_names must be one for each of 2 classes; got 3"):
        save_pretrained(other, tmp_path / "o", ["a", "b", "c"])
    card = (tmp_path / "saved/README.md").read_text()
    assert model.pretrained_cfg.license in card


def test_invalid_folders_and_sources_are_refused(folder, tmp_path):
    _, path = folder
    with pytest.raises(
        ValueError, match=r"a model must be NAME, NAME\.TAG, local-dir:FOLDER or hf-hub:.*; got 'hub:x'"
    ):
        gatezoo.create_model("hub:x")
    with pytest.raises(ValueError, match=r"must hold config\.json and model\.safetensors; .*nowhere has no"):
        gatezoo.create_model(f"local-dir:{tmp_path / 'nowhere'}")
    weights = path / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(ValueError, match="must have sha256"):
        gatezoo.create_model(f"local-dir:{path}", pretrained=True)
    weights.write_bytes(whole)
    config = json.loads((path / "config.json").read_text())
    for change, text in (
        ({"model_args": {"shallow": 1}}, "got 'shallow'"),
        ({"pretrained_cfg": {"num_classes": 3}}, "pretrained_cfg must have the fields mean, sha256, size, std"),
        ({"architecture": "test_dignt"}, "got 'test_dignt'"),
    ):
        (path / "config.json").write_text(json.dumps(config | change))
        with pytest.raises(ValueError, match=text):
            gatezoo.create_model(f"local-dir:{path}", pretrained=True)
    unregistered = gatezoo.model_entrypoint("test_dignet")()
    with pytest.raises(ValueError, match="must have the name of a registered model"):
        save_pretrained(unregistered, tmp_path / "other")
