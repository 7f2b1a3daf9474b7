"""An exported folder: the same numbers, its metadata, what runs it without torch, and what is refused."""

import dataclasses
import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from helpers.commands import run
from helpers.exports import network, run_without
from PIL import Image

import gatezoo
from gatezoo.exporting import report
from gatezoo.exporting.module import ExportedNetwork
from gatezoo.exporting.report import compare
from gatezoo.inference import OnnxPredictor


@pytest.fixture(scope="module")
def model():
    return network()


@pytest.fixture(scope="module")
def folder(model, tmp_path_factory):
    out = tmp_path_factory.mktemp("export") / "out"
    gatezoo.export(model, out, outputs="classes", preprocessing=True)
    return out


@pytest.fixture
def image(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (101, 83, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "image.png")
    return tmp_path / "image.png"


def test_export_writes_a_whole_folder(folder):
    assert sorted(path.name for path in folder.iterdir()) == [
        "README.md",
        "config.json",
        "model.onnx",
        "predict.py",
        "report.json",
    ]
    assert not list(folder.parent.glob(".part*"))
    found = json.loads((folder / "report.json").read_text())
    assert len(found["comparisons"]) == 4
    assert any(side % 2 for one in found["comparisons"] for side in one["size"])
    assert all(one["exported_ms"] > 0 for one in found["comparisons"])


def test_export_has_its_metadata_in_the_file(folder, model):
    config = json.loads((folder / "config.json").read_text())
    predictor = OnnxPredictor(folder / "model.onnx")
    assert predictor.info == config
    assert predictor.class_names == model.class_names
    assert predictor.palette == model.palette
    assert config["versions"]["gatezoo"] == gatezoo.__version__
    assert (config["mean"], config["std"]) == (list(model.data_config.mean), list(model.data_config.std))


def test_exported_classes_are_those_of_predict(folder, model, image):
    expected = gatezoo.predict(model, image)
    found = OnnxPredictor(folder / "model.onnx").predict(image)
    assert found.dtype == expected.dtype
    assert (found != expected).mean() < 1e-3
    assert len(np.unique(expected)) > 1


def test_script_of_the_folder_runs_without_torch(folder, image, model):
    code = f"sys.argv = ['predict.py', {str(image)!r}, 'drawn.png']\nimport runpy; runpy.run_path("
    code += f"{str(folder / 'predict.py')!r}, run_name='__main__')"
    done = run_without(code, image.parent, "torch")
    assert done.returncode == 0, done.stderr
    drawn = np.array(Image.open(image.parent / "drawn.png"))
    assert (drawn != gatezoo.predict(model, image)).mean() < 1e-3
    assert "%" in done.stdout


def test_snippet_of_the_readme_runs_without_torch(folder, image):
    snippet = (folder / "README.md").read_text().split("```python\n")[1].split("```")[0]
    code = f"sys.path.insert(0, {str(folder)!r})\n" + snippet.replace("IMAGE.jpg", str(image))
    done = run_without(code + "\nprint(classes.shape)", folder, "torch")
    assert done.stdout == "(101, 83)\n", done.stderr


def test_predict_runs_an_exported_file(folder, model, image):
    file = folder / "model.onnx"
    expected = OnnxPredictor(file).predict(image)
    assert np.array_equal(gatezoo.predict(file, image), expected)
    both = gatezoo.predict(str(file), [image, Image.open(image)])
    assert len(both) == 2
    assert np.array_equal(both[1], expected)
    with pytest.raises(ValueError, match="probabilities is not supported for an exported network"):
        gatezoo.predict(file, image, probabilities=True)


def test_predict_command_runs_an_exported_file_without_torch(folder, model, image, monkeypatch, capsys):
    out = image.parent / "out"
    arguments = ["gatezoo", "predict", str(folder / "model.onnx"), str(image), "--out", str(out)]
    done = run_without(f"from gatezoo.cli.app import main\nsys.argv = {arguments}\nmain()", image.parent, "torch")
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in out.iterdir()) == ["image.json", "image.png", "image_overlay.jpg"]
    assert np.array_equal(np.array(Image.open(out / "image.png")), OnnxPredictor(folder / "model.onnx").predict(image))
    assert sum(json.loads((out / "image.json").read_text())["shares"].values()) == pytest.approx(1, abs=1e-4)
    for option in (["--flip"], ["--device", "cuda"], ["--window-overlap", "0.5"], ["--tolerance", "0.1"]):
        code, _, err = run(monkeypatch, capsys, *arguments[1:], *option)
        assert code == 2
        assert err.startswith(f"gatezoo: {option[0]} is not supported for an exported network")


def test_comparison_refuses_other_numbers(model):
    module = ExportedNetwork(model, "logits", None, False)

    def off_by(share):
        def run(image):
            logits = module(image).detach().numpy()
            return [logits + share * np.abs(logits).max()]

        return run

    assert compare(module, off_by(1e-6), [(64, 65)], "float32")[0].difference < 1e-5
    small = np.zeros((1, 5, 1, 1), np.float32)
    for wrong in (off_by(1e-3), off_by(np.nan), lambda image: [], lambda image: [small]):
        with pytest.raises(ValueError, match="must give the numbers of eager mode"):
            compare(module, wrong, [(64, 65)], "float32")


def test_refused_export_leaves_nothing(model, tmp_path, monkeypatch):
    monkeypatch.setattr(report, "_CLASSES", {"float32": -1.0})
    with pytest.raises(ValueError, match="nothing was written"):
        gatezoo.export(model, tmp_path / "out", outputs="classes", size=(64, 64))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"format": "tflite"}, "format must be one of onnx, openvino, torch"),
        ({"outputs": "boxes"}, "outputs must be one of"),
        ({"outputs": "passes"}, "requires a network that is unrolled"),
        ({"iterations": 2}, "requires a network that is unrolled"),
        ({"size": (64,)}, "size must be height and width"),
        ({"size": (8, 64)}, "size must be height and width"),
        ({"format": "torch", "fp16": True}, "fp16 is not supported for format='torch'"),
    ],
)
def test_export_refuses_options(model, tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        gatezoo.export(model, tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_export_refuses_networks_and_folders(model, tmp_path):
    (tmp_path / "kept").write_text("mine")
    with pytest.raises(ValueError, match="must be new or empty"):
        gatezoo.export(model, tmp_path)
    with pytest.raises(ValueError, match="also given depth"):
        gatezoo.export(network("test_depthgate_given"), tmp_path / "out")
    wide = network("test_fcn")
    wide.pretrained_cfg = dataclasses.replace(gatezoo.get_pretrained_cfg("zigzag_lite0"), image_max=4095)
    with pytest.raises(ValueError, match="got image_max=4095"):
        gatezoo.export(wide, tmp_path / "out")
    with pytest.raises(ValueError, match="model must be a network of the zoo"):
        gatezoo.export(3, tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["kept"]


def test_predictor_refuses_files_and_images(folder, tmp_path):
    (tmp_path / "broken.onnx").write_bytes(b"no network")
    for name, message in (("broken.onnx", "must be an ONNX file of gatezoo export"), ("none.onnx", "there is none")):
        with pytest.raises(ValueError, match=message):
            OnnxPredictor(tmp_path / name)
    predictor = OnnxPredictor(folder / "model.onnx")
    for wrong, message in (
        (np.zeros((64, 64)), "must be uint8"),
        (np.zeros((8, 64, 3), np.uint8), "sides of images must be in 64"),
        (tmp_path / "broken.onnx", "must be a readable file"),
        (None, "must be uint8"),
        (Image.fromarray(np.full((64, 64), 40_000, np.uint16)), "must have 8 bits a channel"),
    ):
        with pytest.raises(ValueError, match=message):
            predictor.predict(wrong)


@pytest.mark.export
@pytest.mark.parametrize("format", ["onnx", "torch"])
def test_passes_of_an_unrolled_network_are_exported(tmp_path, format):
    found = gatezoo.export(network("test_dignet"), tmp_path / "out", format, iterations=3, outputs="passes")
    assert json.loads((tmp_path / "out" / "config.json").read_text())["output_names"] == [
        "logits_1",
        "logits_2",
        "logits_3",
    ]
    assert max(one.difference for one in found.comparisons) < 1e-4
    if format == "torch":  # batch norm is folded before a network is traced
        graph = torch.export.load(found.file).graph
        names = {str(node.target) for node in graph.nodes}
        assert any("conv2d" in name for name in names)
        assert not any("batch_norm" in name for name in names)


@pytest.mark.export
def test_fixed_size_refuses_other_images(model, tmp_path):
    found = gatezoo.export(model, tmp_path / "out", size=(65, 96))
    assert [one.size for one in found.comparisons] == [(65, 96)] * 3
    predictor = OnnxPredictor(found.file)
    pixels = np.random.default_rng(1).integers(0, 256, (65, 96, 3), dtype=np.uint8)
    assert (predictor.predict(pixels) != gatezoo.predict(model, pixels)).mean() < 1e-3
    with pytest.raises(ValueError, match="images must be 65 x 96"):
        predictor.predict(np.zeros((64, 96, 3), np.uint8))


@pytest.mark.export
def test_weights_of_16_bits_halve_the_file(model, tmp_path):
    full = gatezoo.export(model, tmp_path / "full", size=(64, 96))
    half = gatezoo.export(model, tmp_path / "half", size=(64, 96), fp16=True)
    assert half.mb < 0.7 * full.mb
    assert 0 < max(one.difference for one in half.comparisons) < 1e-2


@pytest.mark.export
@pytest.mark.parametrize("name", [name for name in gatezoo.list_pretrained() if "maskrcnn" not in name])
def test_bundled_networks_are_exported(name, tmp_path):
    found = gatezoo.export(name, tmp_path / "out", preprocessing=True)
    assert max(one.difference for one in found.comparisons) < 1e-4
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert config["name"] == name
    assert config["license"]


@pytest.mark.export
def test_command_exports(tmp_path, monkeypatch, capsys):
    name, out = gatezoo.list_pretrained()[0], tmp_path / "out"
    code, _, err = run(monkeypatch, capsys, "export", name, "--size", 64, 64, "--dynamic", "--out", out)
    assert (code, err.count("\n")) == (2, 1)
    code, printed, err = run(monkeypatch, capsys, "export", name, "--size", 64, 96, "--out", out)
    assert code == 0, err
    assert "64 x 96" in printed
    assert (out / "model.onnx").is_file()


def test_export_is_imported_without_packages_that_one_kind_of_it_needs():
    packages = ("onnx", "onnxruntime", "openvino", "torchmetrics")
    code = f"import sys\nsys.modules |= dict.fromkeys({packages})\n"
    code += "import gatezoo.exporting.export, gatezoo.inference.onnx_instances"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
