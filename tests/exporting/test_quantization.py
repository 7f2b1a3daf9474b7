"""Exports in 8 bits: the split of the images, what is measured, and what is refused."""

import json
import logging

import pytest
from helpers.commands import run
from helpers.exports import network, write_images

import gatezoo
from gatezoo.data import FolderDataset
from gatezoo.exporting import calibration, quantization
from gatezoo.exporting.calibration import CalibrationImages
from gatezoo.inference import OnnxPredictor

SIZE = (64, 96)


@pytest.fixture(scope="module")
def labeled(tmp_path_factory):
    return write_images(tmp_path_factory.mktemp("data") / "labeled", 6, network())


@pytest.fixture(scope="module")
def exported(labeled, tmp_path_factory):
    out = tmp_path_factory.mktemp("int8") / "out"
    data = FolderDataset(labeled, 5)
    return gatezoo.export(network(), out, size=SIZE, outputs="classes", preprocessing=True, int8=True, calibration=data)


def test_int8_export_says_what_it_loses(exported):
    found = exported.quantization
    assert (found.calibration_images, found.held_out_images) == (3, 3)
    assert 0.8 < found.agreement < 1
    assert found.miou_loss == pytest.approx(found.float32_miou - found.int8_miou)
    assert found.float32_miou > 0.5
    assert found.int8_miou != found.float32_miou
    assert exported.mb < 0.5 * found.float32_mb
    folder = exported.file.parent
    assert json.loads((folder / "report.json").read_text())["quantization"]["agreement"] == found.agreement
    assert f"{found.int8_miou:.4f}" in (folder / "README.md").read_text()
    assert any("lost" in line for line in exported.lines())
    info = OnnxPredictor(exported.file).info
    assert info["precision"] == "int8"
    assert info == json.loads((folder / "config.json").read_text())


def test_int8_export_computes_in_8_bits(exported):
    import onnx

    graph = onnx.load(exported.file).graph
    producers = {name: node.op_type for node in graph.node for name in node.output}
    convolutions = [node for node in graph.node if node.op_type == "Conv"]
    quantized = [producers.get(node.input[1]) == "DequantizeLinear" for node in convolutions]
    assert quantized == [False] * 3 + [True] * (len(convolutions) - 4) + [False]  # which gives the logits
    assert len(convolutions) > 8


def test_calibration_images_are_not_held_out(labeled, tmp_path, monkeypatch):
    model, folder = network(), write_images(tmp_path / "plain", 9)
    images = CalibrationImages(folder, model, True, None, (64, 4096))
    assert (images.calibration, images.held_out, images.labeled) == ([0, 2, 4, 6, 8], [1, 3, 5, 7], False)
    image, labels = next(images.read([1]))
    assert (tuple(image.shape), labels) == ((1, 101, 83, 3), None)
    monkeypatch.setattr(calibration, "CALIBRATION_IMAGES", 2)
    monkeypatch.setattr(calibration, "HELD_OUT_IMAGES", 3)
    images = CalibrationImages(FolderDataset(labeled, 5), model, False, SIZE, (64, 4096))
    assert (images.calibration, images.held_out) == ([0, 2], [1, 3, 5])
    image, labels = next(images.read([1]))
    assert (tuple(image.shape), tuple(labels.shape)) == ((1, 3, *SIZE), SIZE)
    assert labels.unique().tolist() == FolderDataset(labeled, 5)[1]["mask"].unique().tolist()


def test_calibration_refuses_sources(labeled, tmp_path):
    few = write_images(tmp_path / "few", 3)
    small = write_images(tmp_path / "small", 4, size=(40, 90))
    for source, message in (
        (3, "calibration must be a folder of images or a data set"),
        (few, "at least 4 images"),
        (tmp_path / "none", "must be readable"),
        (FolderDataset(labeled, 4), "must have the network's 5 classes"),
    ):
        with pytest.raises(ValueError, match=message):
            gatezoo.export(network(), tmp_path / "out", int8=True, calibration=source)
    images = CalibrationImages(small, network(), True, None, (64, 4096))
    with pytest.raises(ValueError, match=r"0\.png.*sides of images must be in 64"):
        next(images.read([0]))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"int8": True}, "int8 and calibration must be given together"),
        ({"calibration": "images"}, "int8 and calibration must be given together"),
        ({"int8": True, "fp16": True, "calibration": "images"}, "fp16 and int8"),
        ({"int8": True, "format": "torch", "calibration": "images"}, "int8 is not supported for format='torch'"),
    ],
)
def test_int8_refuses_options(tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        gatezoo.export(network(), tmp_path / "out", **options)


@pytest.mark.export
def test_int8_that_loses_too_much_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(quantization, "MIN_AGREEMENT", 1.01)
    folder = write_images(tmp_path / "images", 4)
    with pytest.raises(ValueError, match="must keep the class of"):
        gatezoo.export(network(), tmp_path / "out", size=SIZE, int8=True, calibration=folder)
    assert [path.name for path in tmp_path.iterdir()] == ["images"]


@pytest.mark.export
@pytest.mark.parametrize("format", ["onnx", "openvino"])
def test_command_exports_int8(labeled, tmp_path, monkeypatch, capsys, caplog, format):
    name = next(name for name in gatezoo.list_pretrained() if name.startswith("zigzag_lite0"))
    plain = write_images(tmp_path / "images", 4)
    arguments = ["export", name, "--size", *SIZE, "--int8", "--format", format]
    code, printed, err = run(monkeypatch, capsys, *arguments, "--calibrate", plain, "--out", tmp_path / "out")
    assert code == 0, err
    assert "changed their class" in printed
    assert "mIoU" not in printed
    warnings = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert not [record for record in warnings if record.name != "gatezoo"]  # advice of libraries
    code, printed, err = run(monkeypatch, capsys, *arguments, "--calibrate", labeled, "--out", tmp_path / "other")
    assert code == 0, err
    assert "lost" in printed
    code, _, err = run(monkeypatch, capsys, *arguments, "--dataset", "camvid", "--out", tmp_path / "third")
    assert (code, err.count("\n")) == (2, 1)
