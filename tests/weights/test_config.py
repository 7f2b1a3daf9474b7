"""A configuration is data, whoever wrote it."""

import json
import math

import pytest

import gatezoo
from gatezoo.weights.config import MAX_BYTES, read_config


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    model = gatezoo.create_model("test_dignet", num_classes=3)
    folder = gatezoo.save_pretrained(model, tmp_path_factory.mktemp("m"), ["a", "b", "c"])
    return json.loads((folder / "config.json").read_text())


def refused(config, tmp_path):
    path = tmp_path / "config.json"
    path.write_text(config if isinstance(config, str) else json.dumps(config))
    with pytest.raises(ValueError, match="must be a model's configuration as save_pretrained writes it") as caught:
        read_config(path, "local-dir:x")
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 1000
    return message


def test_what_save_pretrained_writes_is_read(written, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(written))
    row, cfg, args = read_config(tmp_path / "config.json", "local-dir:x")
    assert (row.name, args["num_classes"], cfg.sources) == ("test_dignet", 3, ("local-dir:x",))


ARGS = [
    ({"num_classes": 10**9}, "num_classes must be a whole number from 1 to 10000"),
    ({"num_classes": 0}, "num_classes must be a whole number"),
    ({"num_classes": True}, "num_classes must be a whole number"),
    ({"num_classes": "3"}, "num_classes must be a whole number"),
    ({"num_classes": 4}, "num_classes must be the same in model_kwargs and pretrained_cfg; got 4, 3"),
    ({"in_chans": 10**6}, "in_chans must be a whole number from 1 to 1000"),
    ({"iterations": 10**6}, "iterations must be a whole number from 1 to 100"),
    ({"shallow": 1}, "got 'shallow'"),
    ({"pretrained_backbone": True}, "must not ask for other weights"),
    ({"pretrained_backbone": "/etc/passwd"}, "must not ask for other weights"),
    ({"backbone": "hf-hub:org/evil"}, "backbone must be the name of a timm model"),
    ({"backbone": "../../x"}, "backbone must be the name of a timm model"),
    ({"backbone": ["resnet18"]}, "backbone must be the name of a timm model"),
    ({"backbone_args": {"checkpoint_path": "/tmp/x.pth"}}, "plain keywords of a network; got 'checkpoint_path'"),
    ({"backbone_args": {"pretrained": True}}, "plain keywords of a network; got 'pretrained'"),
    ({"backbone_args": {"pretrained_cfg": {"file": "x"}}}, "got 'pretrained_cfg'"),
    ({"backbone_args": {"a": [{"pretrained_cfg_overlay": 1}]}}, "got 'pretrained_cfg_overlay'"),
    ({"backbone_args": {"width": 10**12}}, "a number of model_kwargs must be within 1000000"),
    ({"bins": "x"}, "bins must be a list; got 'x'"),
    ({"freeze_bn": 1}, "freeze_bn must be a bool; got 1"),
    ({"shallowest": True}, "shallowest must be a int; got True"),
    ({"head": ["fcn"]}, "head must be a str"),
    ({"bins": [1, -(10**9)]}, "a number of model_kwargs must be within 1000000"),
]


@pytest.mark.parametrize(("args", "text"), ARGS)
def test_keywords_are_those_of_the_row_and_within_bounds(written, tmp_path, args, text):
    assert text in refused(written | {"model_args": written["model_args"] | args}, tmp_path)


ABOUT = [
    ({"mean": [0.5, "0.5", 0.5]}, "mean of pretrained_cfg does not fit"),
    ({"mean": []}, "mean of pretrained_cfg does not fit"),
    ({"mean": [0.5]}, "mean and std must be of one length; got 1 and 3"),
    ({"std": [0, 1, 1]}, "std of pretrained_cfg does not fit"),
    ({"sha256": "../../etc"}, "sha256 of pretrained_cfg does not fit"),
    ({"size": -1}, "size of pretrained_cfg does not fit"),
    ({"size": 1.5}, "size of pretrained_cfg does not fit"),
    ({"file": "../../x.safetensors"}, "got 'file'"),
    ({"sources": ["https://elsewhere/x"]}, "got 'sources'"),
    ({"class_names": ["a"]}, "class_names must be one for each of 3 classes; got 1"),
    ({"class_names": ["a", "b\n---\nlicense: mit", "c"]}, "a text must be printable"),
    ({"class_names": ["a", "b\u202e", "c"]}, "a text must be printable"),
    ({"palette": [[0, 0, 300]] * 3}, "palette of pretrained_cfg does not fit"),
    ({"interpolation": "eval"}, "interpolation of pretrained_cfg does not fit"),
    ({"ignore_index": 10**9}, "ignore_index of pretrained_cfg does not fit"),
    ({"versions": {"timm": 1}}, "versions of pretrained_cfg does not fit"),
    ({"license": 3}, "license of pretrained_cfg does not fit"),
    ({"colour": 1}, "got 'colour'"),
]


@pytest.mark.parametrize(("about", "text"), ABOUT)
def test_facts_of_the_weights_are_of_the_right_kind(written, tmp_path, about, text):
    assert text in refused(written | {"pretrained_cfg": written["pretrained_cfg"] | about}, tmp_path)


@pytest.mark.parametrize(
    ("config", "text"),
    [
        ("", "Expecting value"),
        ("[]", "it must be an object"),
        ("null", "it must be an object"),
        ("{}", "architecture must be told, as a str"),
        ('{"architecture": ["a"]}', "architecture must be told, as a str"),
        ('{"architecture": "os.system", "model_args": {}, "pretrained_cfg": {}}', "got 'os'"),
        ('{"architecture": "test_fcn", "model_args": [], "pretrained_cfg": {}}', "model_args must be told, as a dict"),
        ('{"a": NaN}', "a number must be finite"),
        ('{"a": 1e999}', "a number must be finite"),
        ("[" * 100_000 + "]" * 100_000, ""),
        ("[[[[[[[[[1]]]]]]]]]", "6 levels deep"),
        (json.dumps(list(range(120_000))), "at most 100000 things"),
        (json.dumps("x" * 20_000), "at most 10000 characters"),
        (" " * (MAX_BYTES + 1), "it must be at most"),
        ('{"format_version": 99, "architecture": "a", "model_args": {}, "pretrained_cfg": {}}', "made by a newer"),
    ],
    ids=range(15),
)
def test_what_is_no_configuration(tmp_path, config, text):
    assert text in refused(config, tmp_path)


def test_keywords_that_make_no_network_or_too_large_a_one(written, tmp_path):
    path = tmp_path / "config.json"
    for args, text in (
        ({"backbone_args": {"no_such_thing": 1}}, "must make a test_dignet; they do not"),
        ({"backbone_args": {"channels": [900_000] * 4}}, "must make a network of at most 2000000000 parameters"),
        ({"output_stride": 7}, "must make a test_dignet; they do not: output_stride must be one of"),
        ({"bins": [[1]]}, "must make a test_dignet; they do not"),
        ({"backbone": "vit_base_patch16_224"}, "is no such chain"),
    ):
        path.write_text(json.dumps(written | {"model_args": written["model_args"] | args}))
        with pytest.raises(ValueError, match=text):
            gatezoo.create_model(f"local-dir:{tmp_path}")


def test_numbers_are_written_as_json_knows_them(written):
    assert not math.isnan(written["pretrained_cfg"]["size"])
    assert json.loads(json.dumps(written, allow_nan=False)) == written
