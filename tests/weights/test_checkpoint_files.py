import pickle
import struct

import pytest
import torch
from safetensors.torch import save, save_file

import gatezoo
from gatezoo.weights.checkpoint_files import MAX_HEADER, checkpoint_facts, read_checkpoint

TENSORS = {"a.weight": torch.ones(2, 3), "b": torch.tensor(3)}


class Calls:
    """Unpickling it would make a folder."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        import os

        return os.mkdir, (self.path,)


@pytest.mark.parametrize("place", [None, "state_dict", "model", "model_ema", "state_dict_ema"])
@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.", "module._orig_mod."])
def test_a_pth_of_tensors_is_read_wherever_they_are_in_it(tmp_path, place, prefix):
    state = {prefix + key: value for key, value in TENSORS.items()}
    torch.save({place: state, "epoch": 3} if place else state, tmp_path / "w.pth")
    tensors, facts = read_checkpoint(tmp_path / "w.pth")
    assert tensors.keys() == TENSORS.keys()
    assert torch.equal(tensors["a.weight"], TENSORS["a.weight"])
    assert facts == checkpoint_facts(tmp_path / "w.pth") == {}


def test_averaged_weights_come_first(tmp_path):
    torch.save({"state_dict": TENSORS, "state_dict_ema": {"c": torch.zeros(1)}}, tmp_path / "w.pth")
    assert list(read_checkpoint(tmp_path / "w.pth")[0]) == ["c"]


def test_a_pth_that_could_run_something_is_refused_by_name(tmp_path):
    torch.save({"state_dict": TENSORS, "x": Calls(tmp_path / "made")}, tmp_path / "w.pth")
    with pytest.raises(
        ValueError, match=r"must hold tensors alone; .*w\.pth asks for (posix|nt)\.mkdir, and that could"
    ):
        read_checkpoint(tmp_path / "w.pth")
    (tmp_path / "bare.pt").write_bytes(pickle.dumps(Calls(tmp_path / "made")))
    with pytest.raises(ValueError, match="must hold tensors alone"):
        read_checkpoint(tmp_path / "bare.pt")
    torch.save(gatezoo.create_model("test_fcn"), tmp_path / "whole.pth")
    with pytest.raises(ValueError, match=r"asks for .*gatezoo\.segmenters\.segmenter\.Segmenter"):
        read_checkpoint(tmp_path / "whole.pth")
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize("data", [b"", b"PK\x03\x04", b"no pickle", bytes(100)])
def test_a_damaged_pth_is_refused(tmp_path, data):
    (tmp_path / "w.pth").write_bytes(data)
    with pytest.raises(ValueError, match="must hold tensors alone"):
        read_checkpoint(tmp_path / "w.pth")


@pytest.mark.parametrize("held", [3, [], {}, {"epoch": 3}, {"state_dict": {"a": 3}}])
def test_a_pth_without_a_state_dict_is_refused(tmp_path, held):
    torch.save(held, tmp_path / "w.pth")
    with pytest.raises(ValueError, match="must be a state dict, or hold one as state_dict_ema"):
        read_checkpoint(tmp_path / "w.pth")


def test_a_pth_makes_a_network_by_an_explicit_path_alone(tmp_path):
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
    "facts that are no object": save({"a": torch.zeros(1)}, {"gatezoo": "[1]"}),
    "facts that are no JSON": save({"a": torch.zeros(1)}, {"gatezoo": "{"}),
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_header_that_lies_is_refused(tmp_path, name):
    (tmp_path / "w.safetensors").write_bytes(BOMBS[name])
    with pytest.raises(ValueError, match=r"must be a whole .safetensors file") as caught:
        read_checkpoint(tmp_path / "w.safetensors")
    assert len(str(caught.value)) < 1000
    if "header" in name and name.startswith("a long"):
        assert f"must be at most {MAX_HEADER} bytes" in str(caught.value)


def test_a_whole_file_is_read(tmp_path):
    save_file(TENSORS, tmp_path / "w.safetensors", {"gatezoo": '{"model": "x"}'})
    tensors, facts = read_checkpoint(tmp_path / "w.safetensors")
    assert tensors.keys() == TENSORS.keys()
    assert facts == checkpoint_facts(tmp_path / "w.safetensors") == {"model": "x"}
