import pickle
import struct

import pytest
import torch
from helpers.headers import header
from safetensors.torch import save, save_file

import gatezoo
from gatezoo.weights.checkpoint_files import MAX_HEADER, checkpoint_metadata, read_checkpoint

TENSORS = {"a.weight": torch.ones(2, 3), "b": torch.tensor(3)}


class Calls:
    """Makes a folder when it is unpickled."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        import os

        return os.mkdir, (self.path,)


@pytest.mark.parametrize("place", [None, "state_dict", "model", "model_ema", "state_dict_ema"])
@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.", "module._orig_mod."])
def test_pth_is_read_with_any_key_and_prefix(tmp_path, place, prefix):
    state = {prefix + key: value for key, value in TENSORS.items()}
    torch.save({place: state, "epoch": 3} if place else state, tmp_path / "w.pth")
    tensors, metadata = read_checkpoint(tmp_path / "w.pth")
    assert tensors.keys() == TENSORS.keys()
    assert torch.equal(tensors["a.weight"], TENSORS["a.weight"])
    assert metadata == checkpoint_metadata(tmp_path / "w.pth") == {}


def test_averaged_weights_come_first(tmp_path):
    torch.save({"state_dict": TENSORS, "state_dict_ema": {"c": torch.zeros(1)}}, tmp_path / "w.pth")
    assert list(read_checkpoint(tmp_path / "w.pth")[0]) == ["c"]


def test_pth_that_could_run_code_is_refused_by_name(tmp_path):
    torch.save({"state_dict": TENSORS, "x": Calls(tmp_path / "made")}, tmp_path / "w.pth")
    with pytest.raises(
        ValueError, match=r"must hold tensors alone; .*w\.pth needs (posix|nt)\.mkdir, which could run code"
    ):
        read_checkpoint(tmp_path / "w.pth")
    (tmp_path / "bare.pt").write_bytes(pickle.dumps(Calls(tmp_path / "made")))
    with pytest.raises(ValueError, match="must hold tensors alone"):
        read_checkpoint(tmp_path / "bare.pt")
    torch.save(gatezoo.create_model("test_fcn"), tmp_path / "whole.pth")
    with pytest.raises(ValueError, match=r"needs .*gatezoo\.segmenters\.segmenter\.Segmenter"):
        read_checkpoint(tmp_path / "whole.pth")
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize("data", [b"", b"PK\x03\x04", b"no pickle", bytes(100)])
def test_damaged_pth_is_refused(tmp_path, data):
    (tmp_path / "w.pth").write_bytes(data)
    with pytest.raises(ValueError, match="must hold tensors alone"):
        read_checkpoint(tmp_path / "w.pth")


@pytest.mark.parametrize("content", [3, [], {}, {"epoch": 3}, {"state_dict": {"a": 3}}])
def test_pth_without_a_state_dict_is_refused(tmp_path, content):
    torch.save(content, tmp_path / "w.pth")
    with pytest.raises(ValueError, match="must be a state dict, or hold one as state_dict_ema"):
        read_checkpoint(tmp_path / "w.pth")


def test_pth_is_loaded_through_checkpoint_path(tmp_path):
    source = gatezoo.create_model("test_fcn", num_classes=4)
    torch.save({"state_dict": source.state_dict()}, tmp_path / "w.pth")
    model = gatezoo.create_model("test_fcn", num_classes=4, checkpoint_path=tmp_path / "w.pth")
    for key, value in source.state_dict().items():
        assert torch.equal(model.state_dict()[key], value)


HEADER = b'{"a":{"dtype":"F32","shape":[%s],"data_offsets":[0,%d]}}'
BOMBS = {
    "empty": b"",
    "short": b"1234",
    "length beyond the file": struct.pack("<Q", 10**6) + b"{}",
    "length beyond any file": struct.pack("<Q", 2**64 - 1) + b"{}",
    "a long header": struct.pack("<Q", MAX_HEADER + 1) + b"{" + b" " * MAX_HEADER + b"}",
    "no JSON": struct.pack("<Q", 4) + b"xxxx",
    "offsets beyond the file": struct.pack("<Q", len(HEADER % (b"1", 400))) + HEADER % (b"1", 400) + bytes(4),
    "a shape that overflows": struct.pack("<Q", len(HEADER % (b"4294967296,4294967296", 4)))
    + HEADER % (b"4294967296,4294967296", 4)
    + bytes(4),
    "a deep header": struct.pack("<Q", 200_000) + b"[" * 200_000,
    "metadata that is no object": save({"a": torch.zeros(1)}, {"gatezoo": "[1]"}),
    "metadata that is no JSON": save({"a": torch.zeros(1)}, {"gatezoo": "{"}),
}


@pytest.mark.parametrize("name", BOMBS)
def test_malformed_safetensors_file_is_refused(tmp_path, name):
    (tmp_path / "w.safetensors").write_bytes(BOMBS[name])
    what = r"the header of .* must describe" if name.startswith("metadata") else r"must be a complete .safetensors file"
    with pytest.raises(ValueError, match=what) as caught:
        read_checkpoint(tmp_path / "w.safetensors")
    assert len(str(caught.value)) < 1000
    if "header" in name and name.startswith("a long"):
        assert f"must be at most {MAX_HEADER} bytes" in str(caught.value)


def test_safetensors_file_is_read_with_its_metadata(tmp_path):
    save_file(TENSORS, tmp_path / "w.safetensors", header("test_fcn", step=3))
    tensors, metadata = read_checkpoint(tmp_path / "w.safetensors")
    assert tensors.keys() == TENSORS.keys()
    assert metadata == checkpoint_metadata(tmp_path / "w.safetensors")
    assert (metadata["architecture"], metadata["step"]) == ("test_fcn", 3)


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"label_format": {"ids": {"0": 999}}}, "ids of label_format must be"),
        ({"label_format": "x" * 10_000}, "label_format must be an object"),
        ({"image_max": -1}, "image_max must be a finite number from 1e-09 to 1e\\+09; got -1"),
        ({"std": [0, 0, 0]}, "std must be a finite number from 1e-06 to 10000; got 0"),
        ({"architecture": "x"}, "model must be one of the .* registered names; got 'x'"),
        ({"num_classes": None}, "num_classes must be a whole number from 1 to 10000; got None"),
    ],
)
def test_header_with_impossible_facts_is_refused(tmp_path, fields, text):
    save_file(TENSORS, tmp_path / "w.safetensors", header(**fields))
    for read in (read_checkpoint, checkpoint_metadata):
        with pytest.raises(ValueError, match=text) as caught:
            read(tmp_path / "w.safetensors")
        assert "\n" not in str(caught.value)
        assert len(str(caught.value)) < 300
