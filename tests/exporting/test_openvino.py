"""OpenVINO files: the same numbers and metadata, and what runs them without torch and onnxruntime."""

import json
import subprocess
import sys

import numpy as np
import pytest
from helpers.commands import run
from helpers.exports import network, run_without, write_images
from PIL import Image

import gatezoo
from gatezoo.inference import OpenVinoPredictor


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    out = tmp_path_factory.mktemp("export") / "out"
    gatezoo.export(network(), out, "openvino", outputs="classes", preprocessing=True)
    return out


def test_openvino_folder_runs_without_torch_and_onnxruntime(folder, tmp_path):
    image = write_images(tmp_path / "images", 1) / "0.png"
    names = ["README.md", "config.json", "model.bin", "model.xml", "predict.py", "report.json"]
    assert sorted(path.name for path in folder.iterdir()) == names
    expected = gatezoo.predict(network(), image)
    assert len(np.unique(expected)) > 1
    code = f"sys.argv = ['predict.py', {str(image)!r}, 'drawn.png']\nimport runpy; runpy.run_path("
    code += f"{str(folder / 'predict.py')!r}, run_name='__main__')"
    done = run_without(code, tmp_path, "torch", "onnxruntime", "onnx")
    assert done.returncode == 0, done.stderr
    assert (np.array(Image.open(tmp_path / "drawn.png")) != expected).mean() < 1e-3
    snippet = (folder / "README.md").read_text().split("```python\n")[1].split("```")[0]
    code = f"sys.path.insert(0, {str(folder)!r})\n" + snippet.replace("IMAGE.jpg", str(image))
    done = run_without(code + "\nprint(classes.shape)", folder, "torch", "onnxruntime")
    assert done.stdout == "(101, 83)\n", done.stderr


def test_openvino_file_has_the_metadata_and_predicts(folder, tmp_path, monkeypatch, capsys):
    file, image = folder / "model.xml", write_images(tmp_path / "images", 1) / "0.png"
    predictor = OpenVinoPredictor(file)
    assert predictor.info == json.loads((folder / "config.json").read_text())
    assert predictor.palette == network().palette
    assert np.array_equal(gatezoo.predict(file, image), predictor.predict(image))
    code, _, err = run(monkeypatch, capsys, "predict", file, image, "--out", tmp_path / "out")
    assert code == 0, err
    assert np.array_equal(np.array(Image.open(tmp_path / "out" / "0.png")), predictor.predict(image))
    (tmp_path / "broken.xml").write_text("<net/>")
    with pytest.raises(ValueError, match="must be an OpenVINO file of gatezoo export"):
        gatezoo.predict(tmp_path / "broken.xml", image)


def test_networks_on_openvino_leave_signals_as_they_were(folder):
    code = """
import faulthandler, signal, subprocess, sys
faulthandler.enable()
from gatezoo.exporting.formats import FORMATS
from gatezoo.inference.onnx_predictor import OpenVinoPredictor
from gatezoo.inference.runtimes import _start_openvino

file = sys.argv[1]
networks = [OpenVinoPredictor(file), FORMATS["openvino"].load(file), _start_openvino(file, 1), OpenVinoPredictor(file)]
while networks:
    del networks[0]
signal.signal(signal.SIGUSR1, lambda number, frame: print("handled"))
signal.raise_signal(signal.SIGUSR1)
"""
    done = subprocess.run([sys.executable, "-c", code, folder / "model.xml"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "handled\n"), done.stderr


@pytest.mark.export
def test_openvino_weights_of_16_bits_halve_the_file(folder, tmp_path):
    full = json.loads((folder / "report.json").read_text())
    half = gatezoo.export(network(), tmp_path / "half", "openvino", size=(64, 96), fp16=True)
    assert half.mb < 0.7 * full["mb"]
    assert 0 < max(one.difference for one in half.comparisons) < 1e-2


@pytest.mark.export
def test_openvino_passes_are_in_order(tmp_path):
    found = gatezoo.export(network("test_dignet"), tmp_path / "out", "openvino", iterations=2, outputs="passes")
    assert max(one.difference for one in found.comparisons) < 1e-4
