"""The header of a checkpoint is trusted no more than a config.json."""

import json
import time

import pytest
import torch
from safetensors.torch import save_file

import gatezoo
from gatezoo.pretrained import FORMAT_VERSION
from gatezoo.weights.header import check_metadata, make_metadata

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


def test_metadata_that_could_not_be_read_back_is_not_made():
    metadata = make_metadata({**VALID, "model_kwargs": {"iterations": 2}, "step": 3})
    assert (metadata["step"], metadata["format_version"], metadata["palette"]) == (3, FORMAT_VERSION, [])
    assert check_metadata("w", metadata).class_names == ("a", "b", "c")
    for facts in ({"model_kwargs": {"backbone": "../x"}}, {"std": (0, 0, 0)}, {"class_names": ["a", "b", "c\t"]}):
        with pytest.raises(ValueError, match="must be"):
            make_metadata(VALID | facts)
    # A network that is not registered has none of them.
    assert make_metadata({"mean": (0.5,), "step": 3})["step"] == 3


def test_network_larger_than_its_file_is_not_built(tensors, tmp_path):
    wide = {"backbone_args": {"channels": [3000] * 4}}
    path = write(tensors, tmp_path / "w.safetensors", VALID | {"model_kwargs": wide})
    count = sum(tensor.numel() for tensor in tensors.values())
    with pytest.raises(ValueError, match=f"must make a network of at most {count} parameters; got "):
        gatezoo.create_model("test_dignet", checkpoint_path=path)


@pytest.mark.parametrize("key", ["num_classes", "mean", "std"])
def test_missing_facts_are_named(tensors, tmp_path, key):
    metadata = {name: value for name, value in VALID.items() if name != key}
    with pytest.raises(ValueError, match=f"{key}"):
        gatezoo.create_model("test_dignet", checkpoint_path=write(tensors, tmp_path / "w.safetensors", metadata))


@pytest.mark.parametrize(
    ("kwargs", "text"),
    [
        ({"backbone_args": {"layers": [9999] * 4}}, "must make a test_dignet; they do not"),
        ({"bins": [1] * 900}, "bins must be a list of at most 32 values"),
        ({"bins": [1] * 10_000}, "bins must be at most 1000 values, 4 levels deep"),
    ],
    ids=range(3),
)
def test_keywords_that_would_take_forever_are_refused_soon(tensors, tmp_path, kwargs, text):
    path = write(tensors, tmp_path / "w.safetensors", VALID | {"model_kwargs": kwargs})
    start = time.process_time()
    with pytest.raises(ValueError, match=text):
        gatezoo.create_model("test_dignet", checkpoint_path=path)
    assert time.process_time() - start < 5


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
