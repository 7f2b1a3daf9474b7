"""A config is checked before anything is built from it."""

import json
import math

import pytest

import gatezoo
from gatezoo.data.label_format import LabelFormat
from gatezoo.pretrained import PretrainedCfg
from gatezoo.weights.config import MAX_BYTES, MAX_ITEMS, read_config


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    model = gatezoo.create_model("test_dignet", num_classes=3)
    folder = gatezoo.save_pretrained(model, tmp_path_factory.mktemp("m"), ["a", "b", "c"])
    return json.loads((folder / "config.json").read_text())


def error_of(config, tmp_path):
    """Return the one-line error that reading a config raises."""
    path = tmp_path / "config.json"
    path.write_text(config if isinstance(config, str) else json.dumps(config))
    with pytest.raises(ValueError, match="must be a model config as save_pretrained writes it") as caught:
        read_config(path, "local-dir:x")
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 1000
    return message


def test_config_of_save_pretrained_is_read(written, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(written))
    spec, cfg, args = read_config(tmp_path / "config.json", "local-dir:x")
    assert (spec.name, args["num_classes"], cfg.sources) == ("test_dignet", 3, ("local-dir:x",))


ARGS = [
    ({"num_classes": 10**9}, "num_classes must be a whole number from 1 to 10000"),
    ({"num_classes": 0}, "num_classes must be a whole number"),
    ({"num_classes": True}, "num_classes must be a whole number"),
    ({"num_classes": "3"}, "num_classes must be a whole number"),
    ({"num_classes": 4}, "num_classes must be the same in model_args and pretrained_cfg; got 4, 3"),
    ({"in_chans": 10**6}, "in_chans must be a whole number from 1 to 1000"),
    ({"iterations": 10**6}, "iterations must be a whole number from 1 to 100"),
    ({"shallow": 1}, "got 'shallow'"),
    ({"pretrained_backbone": True}, "must not load other weights"),
    ({"pretrained_backbone": "/etc/passwd"}, "must not load other weights"),
    ({"backbone": "hf-hub:org/evil"}, "backbone must be the name of a timm model"),
    ({"backbone": "../../x"}, "backbone must be the name of a timm model"),
    ({"backbone": ["resnet18"]}, "backbone must be the name of a timm model"),
    ({"backbone_args": {"checkpoint_path": "/tmp/x.pth"}}, "plain keywords of a network; got 'checkpoint_path'"),
    ({"backbone_args": {"pretrained": True}}, "plain keywords of a network; got 'pretrained'"),
    ({"backbone_args": {"pretrained_cfg": {"file": "x"}}}, "got 'pretrained_cfg'"),
    ({"backbone_args": {"a": [{"pretrained_cfg_overlay": 1}]}}, "got 'pretrained_cfg_overlay'"),
    ({"backbone_args": {"width": 10**12}}, "a number in model_args must be within 1000000"),
    ({"bins": "x"}, "bins must be of type list; got 'x'"),
    ({"freeze_bn": 1}, "freeze_bn must be of type bool; got 1"),
    ({"shallowest": True}, "shallowest must be of type int; got True"),
    ({"head": ["fcn"]}, "head must be of type str"),
    ({"bins": [1, -(10**9)]}, "a number in model_args must be within 1000000"),
]


@pytest.mark.parametrize(("args", "text"), ARGS)
def test_invalid_model_args_are_refused(written, tmp_path, args, text):
    assert text in error_of(written | {"model_args": written["model_args"] | args}, tmp_path)


CFG = [
    ({"mean": [0.5, "0.5", 0.5]}, "mean of pretrained_cfg must be valid"),
    ({"mean": []}, "mean of pretrained_cfg must be valid"),
    ({"mean": [0.5]}, "mean and std must be of one length; got 1 and 3"),
    ({"std": [0, 1, 1]}, "std of pretrained_cfg must be valid"),
    ({"sha256": "../../etc"}, "sha256 of pretrained_cfg must be valid"),
    ({"size": -1}, "size of pretrained_cfg must be valid"),
    ({"size": 1.5}, "size of pretrained_cfg must be valid"),
    ({"file": "../../x.safetensors"}, "got 'file'"),
    ({"sources": ["https://elsewhere/x"]}, "got 'sources'"),
    ({"class_names": ["a"]}, "class_names must be one for each of 3 classes; got 1"),
    ({"class_names": ["a", "b\n---\nlicense: mit", "c"]}, "a text must be printable"),
    ({"class_names": ["a", "b\u202e", "c"]}, "a text must be printable"),
    ({"class_names": ["a", "b\x1b[2J", "c"]}, "a text must be printable"),
    ({"palette": [[0, 0, 300]] * 3}, "palette of pretrained_cfg must be valid"),
    ({"interpolation": "eval"}, "interpolation of pretrained_cfg must be valid"),
    ({"ignore_index": 10**9}, "ignore_index of pretrained_cfg must be valid"),
    ({"label_format": []}, "label_format of pretrained_cfg must be valid"),
    ({"label_format": {"suffix": "/x"}}, "suffix of label_format must be"),
    ({"image_max": 0}, "image_max of pretrained_cfg must be valid"),
    ({"image_max": True}, "image_max of pretrained_cfg must be valid"),
    ({"image_max": "4095"}, "image_max of pretrained_cfg must be valid"),
    ({"base_model": ["x"]}, "base_model of pretrained_cfg must be valid"),
    ({"versions": {"timm": 1}}, "versions of pretrained_cfg must be valid"),
    ({"license": 3}, "license of pretrained_cfg must be valid"),
    ({"color": 1}, "got 'color'"),
]


@pytest.mark.parametrize(("fields", "text"), CFG)
def test_invalid_pretrained_cfg_is_refused(written, tmp_path, fields, text):
    assert text in error_of(written | {"pretrained_cfg": written["pretrained_cfg"] | fields}, tmp_path)


@pytest.mark.parametrize(
    ("config", "text"),
    [
        ("", "Expecting value"),
        ("[]", "it must be an object"),
        ("null", "it must be an object"),
        ("{}", "architecture must be of type str"),
        ('{"architecture": ["a"]}', "architecture must be of type str"),
        ('{"architecture": "os.system", "model_args": {}, "pretrained_cfg": {}}', "got 'os'"),
        ('{"architecture": "test_fcn", "model_args": [], "pretrained_cfg": {}}', "model_args must be of type dict"),
        ('{"a": NaN}', "a number must be finite"),
        ('{"a": 1e999}', "a number must be finite"),
        ("[" * 100_000 + "]" * 100_000, ""),
        ("[[[[[[[[[1]]]]]]]]]", "6 levels deep"),
        (json.dumps(list(range(MAX_ITEMS + 1))), "at most 500000 values"),
        (json.dumps("x" * 20_000), "at most 10000 characters"),
        (" " * (MAX_BYTES + 1), "it must have at most"),
        ('{"format_version": 99, "architecture": "a", "model_args": {}, "pretrained_cfg": {}}', "made by a newer"),
    ],
    ids=range(15),
)
def test_invalid_file_is_refused(tmp_path, config, text):
    assert text in error_of(config, tmp_path)


def test_model_args_of_no_network_or_too_large_a_one_are_refused(written, tmp_path):
    path = tmp_path / "config.json"
    for args, text in (
        ({"backbone_args": {"no_such_thing": 1}}, "must make a test_dignet; they do not"),
        ({"backbone_args": {"channels": [900_000] * 4}}, "must make a network of at most 2000000000 parameters"),
        ({"output_stride": 7}, "must make a test_dignet; they do not: output_stride must be one of"),
        ({"bins": [[1]]}, "must make a test_dignet; they do not"),
        ({"backbone": "vit_base_patch16_224"}, "which is not such a chain"),
    ):
        path.write_text(json.dumps(written | {"model_args": written["model_args"] | args}))
        with pytest.raises(ValueError, match=text):
            gatezoo.create_model(f"local-dir:{tmp_path}")


@pytest.mark.slow
def test_largest_label_format_is_read_back(tmp_path):
    count = range(1 << 16)
    label_format = LabelFormat({(k >> 8, k & 255, 200): 1 << 23 | k for k in count}, ids=dict.fromkeys(count, 255))
    facts = {"label_format": label_format.to_dict(), "image_max": 4095}
    model = gatezoo.create_model("test_dignet", num_classes=3)
    model.pretrained_cfg = PretrainedCfg("test_dignet", "local", 3, (0.5,) * 3, (0.5,) * 3, **facts)
    folder = gatezoo.save_pretrained(model, tmp_path / "m")
    _, cfg, _ = read_config(folder / "config.json", "local-dir:x")
    assert LabelFormat.from_dict(cfg.label_format) == label_format
    assert cfg.image_max == 4095


def test_written_numbers_are_standard_json(written):
    assert not math.isnan(written["pretrained_cfg"]["size"])
    assert json.loads(json.dumps(written, allow_nan=False)) == written
