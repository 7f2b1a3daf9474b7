"""Exported Mask R-CNN: the instances of eager mode, the script without torch, and what is refused."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from helpers.randomize import randomize
from PIL import Image

import gatezoo
from gatezoo.exporting import instances
from gatezoo.inference import OnnxInstancePredictor, OnnxPredictor
from gatezoo.inference.onnx_instances import _suppressed, _window
from gatezoo.segmenters.roi_masks import RoIMasks


def network(name="test_maskrcnn_fpn", **model_kwargs):
    torch.manual_seed(0)
    return randomize(gatezoo.create_model(name, num_classes=4, **model_kwargs)).eval()


def photo(height, width):
    random = np.random.default_rng(height)
    coarse = Image.fromarray(random.integers(0, 256, (height // 8, width // 8, 3), dtype=np.uint8))
    return np.array(coarse.resize((width, height), Image.Resampling.BICUBIC))


@pytest.fixture(scope="module")
def model():
    return network()


@pytest.fixture(scope="module")
def folder(model, tmp_path_factory):
    out = tmp_path_factory.mktemp("export") / "out"
    gatezoo.export(model, out)
    return out


def assert_same_instances(found, expected):
    """Same number of instances, boxes to .01 pixels, scores to 1e-4 and masks to an IoU of .99, in any order."""
    assert len(found["boxes"]) == len(expected["boxes"]) > 0
    masks, other_masks = found["masks"].whole(), (expected["masks"] >= 0.5)[:, 0].numpy()
    for box, label, score, mask in zip(found["boxes"], found["labels"], found["scores"], masks):
        distances = abs(expected["boxes"].numpy() - box).max(1) + (expected["labels"].numpy() != label)
        match = distances.argmin()
        assert distances[match] < 1e-2
        assert abs(expected["scores"][match].item() - score) < 1e-4
        both, either = (mask & other_masks[match]).sum(), (mask | other_masks[match]).sum()
        assert both >= 0.99 * either


@pytest.mark.parametrize("size", [(96, 120), (80, 170), (301, 133)])
def test_exported_instances_are_those_of_eager_mode(folder, model, size):
    pixels = photo(*size)
    threshold = float(gatezoo.predict_instances(model, pixels, score_threshold=0.0)["scores"][20]) - 1e-5
    predictor = OnnxInstancePredictor(folder / "model.onnx")
    expected = gatezoo.predict_instances(model, pixels, score_threshold=threshold)
    found = predictor.predict(pixels, score_threshold=threshold)
    assert_same_instances(found, expected)
    assert found["names"] == [model.class_names[label] for label in found["labels"]]
    assert (np.diff(found["scores"]) <= 0).all()
    few = predictor.predict(pixels, score_threshold=threshold, max_detections=3)
    assert np.array_equal(few["boxes"], found["boxes"][:3])
    nothing = predictor.predict(pixels, score_threshold=0.9999)
    assert nothing["boxes"].shape == (0, 4)
    assert nothing["masks"].whole().shape == (0, *size)


def test_folder_has_all_that_runs_it(folder, model):
    assert sorted(path.name for path in folder.iterdir()) == [
        "README.md",
        "boxes.onnx",
        "config.json",
        "masks.onnx",
        "model.onnx",
        "onnx_predictor.py",
        "predict.py",
        "report.json",
    ]
    report = json.loads((folder / "report.json").read_text())
    assert len(report["comparisons"]) == 4
    assert max(one["difference"] for one in report["comparisons"]) < 1e-4
    predictor = OnnxInstancePredictor(folder / "model.onnx")
    assert predictor.info == json.loads((folder / "config.json").read_text())
    assert predictor.class_names == model.class_names


def test_script_runs_without_torch_and_gatezoo(folder, tmp_path):
    pixels = photo(96, 120)
    Image.fromarray(pixels).save(tmp_path / "image.png")
    code = "import sys; sys.modules['torch'] = sys.modules['gatezoo'] = None\n"
    code += f"sys.argv = ['predict.py', 'image.png', 'out.npz']\nsys.path.insert(0, {str(folder)!r})\n"
    code += f"import runpy; runpy.run_path({str(folder / 'predict.py')!r}, run_name='__main__')"
    done = subprocess.run([sys.executable, "-P", "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    written, expected = np.load(tmp_path / "out.npz"), OnnxInstancePredictor(folder / "model.onnx").predict(pixels)
    for key in ("boxes", "labels", "scores", "names"):
        assert np.array_equal(written[key], expected[key])
    assert np.array_equal(written["masks"], expected["masks"].whole())


def test_suppression_is_torchvisions():
    from torchvision.ops import nms

    corners = 100 * torch.rand(300, 2, generator=torch.Generator().manual_seed(0))
    boxes = torch.cat([corners, corners + 40], 1)
    scores = torch.rand(300, generator=torch.Generator().manual_seed(1))
    for overlap in (0.3, 0.7):
        assert _suppressed(boxes.numpy(), scores.numpy(), overlap).tolist() == nms(boxes, scores, overlap).tolist()
    assert len(_suppressed(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), 0.5)) == 0


@pytest.mark.parametrize("box", [(3.2, 4.7, 30.1, 22.9), (0, 0, 50, 40), (47.5, 38.2, 50, 40), (10, 10, 10.2, 10.1)])
def test_masks_are_drawn_as_in_eager_mode(box):
    mask = torch.rand(28, 28, generator=torch.Generator().manual_seed(0))
    ((top, left, expected),) = RoIMasks(mask[None, None], torch.tensor([box]), (40, 50)).windows()
    found = _window(mask.numpy(), np.array(box, np.float32), (40, 50))
    assert found[:2] == (top, left)
    assert found[2].shape == tuple(expected.shape)
    assert (found[2] != expected.numpy()).mean() < 0.01


def test_refusals_name_the_reason(folder, model, tmp_path):
    for options, message in (
        ({"format": "torch"}, "format is not supported for instance segmentation; got 'torch'"),
        ({"size": (64, 64)}, "size is not supported"),
        ({"outputs": "classes"}, "outputs is not supported"),
        ({"fp16": True}, "fp16 is not supported"),
    ):
        with pytest.raises(ValueError, match=message):
            gatezoo.export(model, tmp_path / "out", **options)
    with pytest.raises(ValueError, match="got FCIS, and ONNX has no pooling of position-sensitive scores"):
        gatezoo.export(network("test_fcis"), tmp_path / "out")
    with pytest.raises(ValueError, match="got deformable pooling, which ONNX does not have"):
        gatezoo.export(network("test_deformable_maskrcnn"), tmp_path / "out")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ValueError, match=r"this one is for instance segmentation: use gatezoo.inference.OnnxInst"):
        OnnxPredictor(folder / "model.onnx").predict(np.zeros((64, 64, 3), np.uint8))
    with pytest.raises(ValueError, match="when its longer one is resized"):
        OnnxInstancePredictor(folder / "model.onnx").predict(np.zeros((4, 400, 3), np.uint8))
    (tmp_path / "model.onnx").write_bytes((folder / "model.onnx").read_bytes())
    with pytest.raises(ValueError, match=r"boxes.onnx must be an ONNX file of gatezoo export, beside model.onnx"):
        OnnxInstancePredictor(tmp_path / "model.onnx")


def test_other_numbers_are_refused(folder, model):
    parts = {"model.onnx": instances.MapsAndProposals(network("test_maskrcnn_fpn", box_width=8)).eval()}
    with pytest.raises(ValueError, match="must give the numbers of eager mode"):
        instances._compare(model, parts, folder)


def test_command_predicts_without_torch(folder, tmp_path):
    Image.fromarray(photo(96, 120)).save(tmp_path / "image.png")
    out = tmp_path / "out"
    arguments = ["gatezoo", "predict", str(folder / "model.onnx"), str(tmp_path / "image.png"), "--out", str(out)]
    code = "import sys; sys.modules['torch'] = None\n"
    code += f"from gatezoo.cli.app import main\nsys.argv = {arguments}\nmain()"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in out.iterdir()) == ["image.json", "image_instances.jpg", "instances.json"]


@pytest.mark.export
def test_bundled_network_finds_the_same_nuclei(tmp_path):
    found = gatezoo.export("zigzag_maskrcnn_mobilenetv2", tmp_path / "out")
    assert max(one.difference for one in found.comparisons) < 1e-4
    model, pixels = gatezoo.create_model("zigzag_maskrcnn_mobilenetv2", pretrained=True).eval(), photo(256, 320)
    threshold = model.score_threshold
    expected = gatezoo.predict_instances(model, pixels, score_threshold=threshold)
    assert_same_instances(OnnxInstancePredictor(found.file).predict(pixels, score_threshold=threshold), expected)
