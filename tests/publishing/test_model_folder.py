import dataclasses
import json
import math

import pytest
import torch

import gatezoo
from gatezoo.data import FolderDataset
from gatezoo.data.check.check import check_folder
from gatezoo.pretrained import PretrainedCfg
from gatezoo.publishing.model_folder import save_pretrained
from gatezoo.publishing.publish import build_release


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
    model = gatezoo.create_model("dignet_lite0_8s", pretrained=True)
    again = gatezoo.create_model(f"local-dir:{save_pretrained(model, tmp_path / 'saved')}", pretrained=True)
    for field in ("mean", "std", "class_names", "palette", "ignore_index", "license"):
        assert getattr(again.pretrained_cfg, field) == getattr(model.pretrained_cfg, field)
    other = gatezoo.create_model("dignet_lite0_8s", pretrained=True, num_classes=2)
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
        ({"pretrained_cfg": {"num_classes": 3}}, "a record must have mean, sha256, size, std; got none"),
        ({"architecture": "test_dignt"}, "got 'test_dignt'"),
    ):
        (path / "config.json").write_text(json.dumps(config | change))
        with pytest.raises(ValueError, match=text):
            gatezoo.create_model(f"local-dir:{path}", pretrained=True)
    unregistered = gatezoo.model_entrypoint("test_dignet")()
    with pytest.raises(ValueError, match="must have the name of a registered model"):
        save_pretrained(unregistered, tmp_path / "other")


# A no-break space, a family of emoji, and the joiners of Persian and Hindi.
NAMES = [
    "th\u00e9\u00a0noir",
    "\U0001f468\u200d\U0001f469\u200d\U0001f467",
    "\u0645\u06cc\u200c\u0634 \u0915\u094d\u200d",
]


def test_names_of_all_scripts_are_read_back(folder, tmp_path):
    model, _ = folder
    path = save_pretrained(model, tmp_path / "names", NAMES)
    assert gatezoo.create_model(f"local-dir:{path}", pretrained=True).class_names == NAMES


@pytest.mark.parametrize(
    "name", ["a\tb", "a\nb", "\x1b[2J", "\u202egnp", "\u2066x", "\ud800", "x" * 10_001], ids=range(7)
)
def test_names_that_could_not_be_read_back_are_refused(folder, shapes, tmp_path, name):
    model, _ = folder
    for act in (
        lambda: save_pretrained(model, tmp_path / "names", ["a", "b", name]),
        lambda: FolderDataset(shapes, ["a", name]),
        lambda: check_folder(shapes, ["a", name]),
    ):
        with pytest.raises(ValueError, match="class names must be printable, without tabs") as caught:
            act()
        assert str(caught.value).isprintable()
        assert len(str(caught.value)) < 250
    assert not (tmp_path / "names").exists()


def test_nothing_is_written_that_could_not_be_read_back(folder, tmp_path):
    model, _ = folder
    for facts, text in (
        ({"command": "gatezoo\nrm"}, "command must be printable text"),
        ({"label_format": {"suffix": "/x"}}, "suffix of label_format must be"),
        ({"image_max": math.nan}, "image_max must be a finite number"),
    ):
        with pytest.raises(ValueError, match=text):
            PretrainedCfg("test_dignet", "local", 3, (0.5,) * 3, (0.5,) * 3, **facts)
    model.model_kwargs = {**model.model_kwargs, "backbone": "hf-hub:org/other"}
    with pytest.raises(ValueError, match="backbone must be a plain word, and no path or URL"):
        save_pretrained(model, tmp_path / "facts")
    assert not (tmp_path / "facts").exists()


def test_new_classifier_keeps_the_license_and_names_the_base_model(tmp_path):
    model = gatezoo.create_model("dignet_lite0_8s", pretrained=True, num_classes=2)
    cfg = gatezoo.create_model(f"local-dir:{save_pretrained(model, tmp_path / 'm')}", pretrained=True).pretrained_cfg
    assert (cfg.license, cfg.train_data, cfg.command) == ("CC-BY-NC-4.0", "", "")
    assert cfg.base_model.startswith("dignet_lite0_8s.camvid, license CC-BY-NC-4.0, trained on CamVid, 367 images")


def test_new_classifier_keeps_the_normalization(folder, tmp_path):
    model, _ = folder
    model.pretrained_cfg = PretrainedCfg("test_dignet", "local", 5, (0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
    cfg = gatezoo.from_pretrained(save_pretrained(model, tmp_path / "new")).pretrained_cfg
    assert (cfg.num_classes, cfg.mean, cfg.std) == (3, (0.1, 0.2, 0.3), (0.4, 0.5, 0.6))


def test_published_folder_tells_all_that_the_saved_one_does(tmp_path):
    model = gatezoo.create_model("test_fcn", num_classes=2)
    facts = {"class_names": ("ground", "disc"), "palette": ((0, 0, 0), (9, 8, 7)), "ignore_index": 7, "image_max": 4095}
    facts |= {"label_format": {"ids": {"0": 0, "255": 1}}, "recipe": {"lr": 0.5}, "train_data": "discs", "command": "c"}
    facts |= {"license": "MIT", "data_license": "CC0 1.0", "base_model": "a.b", "interpolation": "bicubic"}
    facts |= {"metrics": {"miou": 0.5, "protocol": "whole images"}}
    model.pretrained_cfg = PretrainedCfg("test_fcn", "local", 2, (0.1, 0.2, 0.3), (0.4, 0.5, 0.6), **facts)
    saved = save_pretrained(model, tmp_path / "saved")
    build_release(str(saved), tmp_path / "release", "org/test_fcn.discs")
    given, kept = (gatezoo.from_pretrained(path).pretrained_cfg for path in (saved, tmp_path / "release"))
    assert dataclasses.replace(kept, sources=given.sources) == given
    for name, value in {**facts, "mean": (0.1, 0.2, 0.3), "std": (0.4, 0.5, 0.6)}.items():
        assert getattr(kept, name) == value


def test_card_tells_the_conventions_of_the_training_data(folder, tmp_path):
    model, plain = folder
    facts = {"label_format": {"ids": {"0": 0, "255": 1, "9": 7}}, "image_max": 4095, "base_model": "net.tag, license X"}
    facts |= {"class_names": ("background", "nucleus", "[x](y)"), "ignore_index": 7}
    model.pretrained_cfg = PretrainedCfg("test_dignet", "local", 3, (0.5,) * 3, (0.5,) * 3, **facts)
    card = (save_pretrained(model, tmp_path / "card") / "README.md").read_text()
    assert "\n\nLabels: ids 0 = background, 9 = ignored, 255 = nucleus.\n\n" in card
    assert "\n\nImages: 4095 is full brightness.\n\nBase model: net.tag, license X.\n\n" in card
    assert "Labels:" not in (plain / "README.md").read_text()
