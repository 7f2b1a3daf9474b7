"""Evaluate exported files: the scores of the network, and what is refused."""

import json

import numpy as np
import pytest
from helpers.commands import run
from helpers.exports import network, write_images
from PIL import Image

import gatezoo
from gatezoo.data import FolderDataset
from gatezoo.inference import ExportedSegmenter, open_exported


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Images with the predictions of the network as labels, moved so that some are wrong."""
    folder = write_images(tmp_path_factory.mktemp("data") / "labeled", 3, network())
    for path in (folder / "labels").iterdir():
        Image.fromarray(np.roll(np.array(Image.open(path)), 7, axis=1)).save(path)
    return folder


@pytest.fixture(scope="module")
def logits(tmp_path_factory):
    return gatezoo.export(network(), tmp_path_factory.mktemp("logits") / "out").file


def scores(model, data):
    return gatezoo.evaluate(model, FolderDataset(data, 5)).scores.to_dict()


def assert_equal_scores(found, expected):
    assert found.keys() == expected.keys()
    for key in expected:
        assert np.allclose(np.array(found[key], float), np.array(expected[key], float), atol=1e-3, equal_nan=True), key


def test_exported_file_has_the_scores_of_the_network(logits, data):
    expected = scores(network(), data)
    assert 0 < expected["miou"] < 1
    assert_equal_scores(scores(ExportedSegmenter(open_exported(logits)), data), expected)


@pytest.mark.export
@pytest.mark.parametrize("format", ["onnx", "openvino"])
def test_exported_classes_have_the_scores_of_the_network(data, tmp_path, format):
    file = gatezoo.export(network(), tmp_path / "out", format, outputs="classes", preprocessing=True).file
    assert_equal_scores(scores(ExportedSegmenter(open_exported(file)), data), scores(network(), data))


def test_eval_command_takes_an_exported_file(logits, data, tmp_path, monkeypatch, capsys):
    arguments = ["eval", logits, "--data", data]
    code, _, err = run(monkeypatch, capsys, *arguments, "--out", tmp_path / "out", "--boundary")
    assert code == 0, err
    expected = scores(network(), data)
    found = json.loads((tmp_path / "out" / "scores.json").read_text())
    assert found["scores"]["miou"] == pytest.approx(expected["miou"], abs=1e-3)
    assert found["weights"]["file"] == str(logits)
    assert "boundary_f" in found["scores"]
    for option in (["--flip"], ["--scales", "0.5"], ["--iterations", 2], ["--calibration"], ["--checkpoint", "x"]):
        code, _, err = run(monkeypatch, capsys, *arguments, *option)
        assert code == 2
        assert err == f"gatezoo: {option[0]} is not supported for an exported network; got {logits}: leave it out\n"
    code, _, err = run(monkeypatch, capsys, "eval", tmp_path / "none.onnx", "--data", data)
    assert (code, err.count("\n")) == (2, 1)
