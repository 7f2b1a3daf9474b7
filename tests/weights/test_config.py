"""A config is checked before anything is built from it."""

import json
import math

import pytest

import gatezoo
from gatezoo.data.label_format import LabelFormat
from gatezoo.pretrained import PretrainedCfg
from gatezoo.pretrained.rules import MAX_BYTES, MAX_ITEMS
from gatezoo.weights.config import read_config


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
    ({"num_classes": 10**9}, "num_classes must be within 1000000"),
    ({"num_classes": 10**5}, "num_classes must be a whole number from 1 to 10000"),
    ({"num_classes": 0}, "num_classes must be a whole number"),
    ({"num_classes": True}, "num_classes must be a whole number"),
    ({"num_classes": "3"}, "num_classes must be a whole number"),
    ({"num_classes": 4}, "num_classes must be that of the weights, 3; got 4"),
    ({"in_chans": 10**6}, "in_chans must be a whole number from 1 to 1000"),
    ({"iterations": 10**6}, "iterations must be a whole number from 1 to 100"),
    ({"shallow": 1}, "got 'shallow'"),
    ({"pretrained_backbone": True}, "a plain name of an option, which loads nothing; got 'pretrained_backbone'"),
    ({"pretrained_backbone": "/etc/passwd"}, "got 'pretrained_backbone'"),
    ({"backbone": "hf-hub:org/evil"}, "backbone must be a plain word, and no path or URL"),
    ({"backbone": "../../x"}, "backbone must be a plain word, and no path or URL"),
    ({"backbone": ".."}, "backbone must be a plain word, and no path or URL"),
    ({"backbone": ["resnet18"]}, "backbone must be a text; got ['resnet18']"),
    ({"backbone_args": {"checkpoint_path": "/tmp/x.pth"}}, "which loads nothing; got 'checkpoint_path'"),
    ({"backbone_args": {"pretrained": True}}, "which loads nothing; got 'pretrained'"),
    ({"backbone_args": {"pretrained_cfg": {"file": "x"}}}, "got 'pretrained_cfg'"),
    ({"backbone_args": {"a": [{"pretrained_cfg_overlay": 1}]}}, "got 'pretrained_cfg_overlay'"),
    *(
        ({"backbone_args": {key: "x"}}, f"a plain name of an option, which loads nothing; got '{key}'")
        for key in ("cache_dir", "feature_cls", "feature_cfg", "features_only", "kwargs_filter")
    ),
    ({"backbone_args": {"width": 10**12}}, "width must be within 1000000; got 1000000000000"),
    ({"bins": "x"}, "bins must be a list of whole numbers up to 1000000; got 'x'"),
    ({"freeze_bn": 1}, "freeze_bn must be True or False; got 1"),
    ({"shallowest": True}, "shallowest must be a whole number up to 1000000; got True"),
    ({"head": ["fcn"]}, "head must be a text; got ['fcn']"),
    ({"bins": [1, -(10**9)]}, "bins must be within 1000000"),
]


@pytest.mark.parametrize(("args", "text"), ARGS)
def test_invalid_model_args_are_refused(written, tmp_path, args, text):
    assert text in error_of(written | {"model_args": written["model_args"] | args}, tmp_path)


CFG = [
    ({"mean": [0.5, "0.5", 0.5]}, "mean must be a finite number from -10000 to 10000; got '0.5'"),
    ({"mean": []}, "mean must be a list of 1 to 1000 values"),
    ({"mean": [0.5]}, "mean and std must be of one length, 3, 3 or 1; got 1 and 3"),
    ({"mean": [0.5] * 2, "std": [0.5] * 2}, "mean and std must be of one length, 3, 3 or 1; got 2 and 2"),
    ({"std": [0, 1, 1]}, "std must be a finite number from 1e-06 to 10000; got 0"),
    ({"sha256": "../../etc"}, "sha256 must be 64 hex digits; got '../../etc'"),
    ({"size": -1}, "size must be a whole number from 0"),
    ({"size": 1.5}, "size must be a whole number"),
    ({"size": 0}, "size must be given; got 0"),
    ({"file": "../../x.safetensors"}, "got 'file'"),
    ({"sources": ["https://elsewhere/x"]}, "got 'sources'"),
    ({"class_names": ["a"]}, "class_names must be one for each of 3 classes; got 1"),
    ({"class_names": ["a", "b\n---\nlicense: mit", "c"]}, "class_names must be printable text"),
    ({"class_names": ["a", "b\u202e", "c"]}, "class_names must be printable text"),
    ({"class_names": ["a", "b\x1b[2J", "c"]}, "class_names must be printable text"),
    ({"palette": [[0, 0, 300]] * 3}, "palette must be a whole number from 0 to 255; got 300"),
    ({"palette": [[0, 0, [0]]] * 3}, "palette must be a whole number from 0 to 255; got [0]"),
    ({"palette": [[0, 0]] * 3}, "palette must be a list of 3 to 3 values"),
    ({"interpolation": "eval"}, "interpolation must be nearest, bilinear or bicubic; got 'eval'"),
    ({"ignore_index": 10**9}, "ignore_index must be a whole number from -1 to 65535"),
    ({"label_format": []}, "label_format must be an object; got ()"),
    ({"label_format": {"suffix": "/x"}}, "suffix of label_format must be"),
    ({"image_max": 0}, "image_max must be a finite number from 1e-09 to 1e+09"),
    ({"image_max": True}, "image_max must be a finite number from 1e-09 to 1e+09"),
    ({"image_max": "4095"}, "image_max must be a finite number from 1e-09 to 1e+09"),
    ({"base_model": ["x"]}, "base_model must be printable text"),
    ({"versions": {"timm": 1}}, "versions must be an object of at most 200 printable texts"),
    ({"license": 3}, "license must be printable text"),
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
        ('{"a": NaN}', "a must be finite; got nan"),
        ('{"a": 1e999}', "a must be finite; got inf"),
        ("[" * 100_000 + "]" * 100_000, ""),
        ("[[[[[[[[[1]]]]]]]]]", "6 levels deep"),
        ('{"a": 1, "b": 2, "a": 3}', "a key of an object must be unique; got 'a'"),
        (json.dumps(list(range(MAX_ITEMS + 1))), "at most 500000 values"),
        (json.dumps("x" * 20_000), "at most 10000 characters"),
        (" " * (MAX_BYTES + 1), "it must have at most"),
        (
            '{"format_version": 99, "architecture": "newer", "model_args": {}, "pretrained_cfg": {"new": 1}}',
            "made by a newer",
        ),
    ],
    ids=range(16),
)
def test_invalid_file_is_refused(tmp_path, config, text):
    assert text in error_of(config, tmp_path)


def test_model_args_of_no_network_or_too_large_a_one_are_refused(written, tmp_path):
    path = tmp_path / "config.json"
    for args, text in (
        ({"backbone_args": {"no_such_thing": 1}}, "must make a test_dignet; they do not"),
        ({"backbone_args": {"channels": [900_000] * 4}}, "must make a network of at most 2000000000 parameters"),
        ({"output_stride": 7}, "must make a test_dignet; they do not: output_stride must be one of"),
        ({"bins": [[1]]}, "bins must be a list of whole numbers up to 1000000"),
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
