"""The header of a checkpoint is trusted no more than a config.json."""

import json
import time

import pytest
import torch
from safetensors.torch import save_file

import gatezoo

VALID = {
    "architecture": "test_dignet",
    "num_classes": 3,
    "mean": [0.5] * 3,
    "std": [0.2] * 3,
    "class_names": list("abc"),
}


@pytest.fixture(scope="module")
def tensors():
    return gatezoo.create_model("test_dignet", num_classes=3).state_dict()


def write(tensors, path, metadata):
    save_file(tensors, path, {"gatezoo": json.dumps(metadata)})
    return path


FACTS = [
    {"architecture": 3},
    {"model_kwargs": ["head"]},
    {"model_kwargs": {"no_such_keyword": 1}},
    {"model_kwargs": {"pretrained_backbone": True}},
    {"model_kwargs": {"backbone_args": {"pretrained": True, "pretrained_cfg": {"url": "http://x"}}}},
    {"model_kwargs": {"backbone_args": {"checkpoint_path": "/etc/passwd"}}},
    {"model_kwargs": {"backbone": "hf-hub:org/evil"}},
    {"model_kwargs": {"iterations": 10**6}},
    {"model_kwargs": {"head": {"a": 1}}},
    {"num_classes": "3"},
    {"num_classes": 10**9},
    {"mean": [float("nan")] * 3},
    {"std": [0.0] * 3},
    {"std": [0.2]},
    {"class_names": ["a", "\x1b[31mb", "c"]},
    {"class_names": ["a"]},
    {"palette": [[0, 0, 999]] * 3},
    {"ignore_index": 10**9},
    {"recipe": 3},
    {"versions": [1]},
    {"format_version": 99},
    {"license": {"a": 1}},
]


@pytest.mark.parametrize("facts", FACTS, ids=str)
def test_invalid_facts_are_refused_in_one_line(tensors, tmp_path, facts):
    path = write(tensors, tmp_path / "w.safetensors", VALID | facts)
    with pytest.raises(ValueError, match="must") as caught:
        gatezoo.create_model("test_dignet", checkpoint_path=path)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 1000
    assert "\x1b" not in str(caught.value)


@pytest.mark.parametrize("key", ["num_classes", "mean", "std"])
def test_missing_facts_are_named(tensors, tmp_path, key):
    metadata = {name: value for name, value in VALID.items() if name != key}
    with pytest.raises(ValueError, match=f"{key}"):
        gatezoo.create_model("test_dignet", checkpoint_path=write(tensors, tmp_path / "w.safetensors", metadata))


@pytest.mark.parametrize("kwargs", [{"backbone_args": {"layers": [9999] * 4}}, {"bins": [1] * 10_000}], ids=["l", "b"])
def test_keywords_that_would_take_forever_are_refused_soon(tensors, tmp_path, kwargs):
    path = write(tensors, tmp_path / "w.safetensors", VALID | {"model_kwargs": kwargs})
    start = time.process_time()
    with pytest.raises(ValueError, match="must make a test_dignet; they do not"):
        gatezoo.create_model("test_dignet", checkpoint_path=path)
    assert time.process_time() - start < 30


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused_by_name(tensors, tmp_path, value):
    damaged = {key: tensor.clone() for key, tensor in tensors.items()}
    damaged["head.weight"].view(-1)[5] = value
    path = write(damaged, tmp_path / "w.safetensors", VALID)
    with pytest.raises(ValueError, match=r"weights must be finite; tensor head\.weight holds NaN or infinity"):
        gatezoo.create_model("test_dignet", checkpoint_path=path)
    with pytest.raises(ValueError, match=r"tensor head\.weight holds NaN"):
        gatezoo.load_checkpoint(gatezoo.create_model("test_dignet", num_classes=3), path)
    assert torch.isfinite(tensors["head.weight"]).all()
    assert gatezoo.create_model("test_dignet", checkpoint_path=write(tensors, path, VALID)).num_classes == 3
