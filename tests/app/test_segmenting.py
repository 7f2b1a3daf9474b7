"""What the Segment tab shows, against gatezoo.predict."""

import numpy as np
import pytest
import torch
from helpers.pages import captions, downloads, file_of, legend, loaded
from PIL import Image

import gatezoo
from gatezoo.app import segmenting
from gatezoo.app.image_file import ImageFile, sample_file
from gatezoo.app.samples import SAMPLES, draw_sample
from gatezoo.app.segmenting import instances_view, predict_classes, segment
from gatezoo.inference import predictor as predictor_module


@pytest.mark.parametrize("name", ["test_dignet", "test_gff", "test_fcn"])
def test_classes_shares_and_confidence_are_those_of_predict(name, shapes):
    model = gatezoo.create_model(name, num_classes=4).eval()
    path = shapes / "images/03.png"
    text, found = segment(loaded(model), file_of(path))
    files = downloads(text)
    assert found is None
    expected = gatezoo.predict(model, path, probabilities=True)
    assert np.array_equal(files["03.png"], gatezoo.predict(model, path))
    shares = np.bincount(expected.classes.ravel(), minlength=4) / expected.classes.size
    assert files["03.json"]["shares"] == {str(k): round(shares[k], 6) for k in range(4) if shares[k]}
    assert files["03.json"] | {"image": "03.png", "width": 80, "height": 64, "model": "mine"} == files["03.json"]
    assert legend(text) == {str(k): f"{shares[k]:.1%}" for k in range(4) if shares[k]}
    np.testing.assert_allclose(files["03_confidence.png"] / 65535, expected.confidence, atol=1e-5)
    assert captions(text)[1].startswith(f"confidence: mean {expected.confidence.mean():.3f}")


def test_depth_is_that_of_predict(shapes):
    model = gatezoo.create_model("test_depthgate", num_classes=4).eval()
    path = shapes / "images/03.png"
    text, _ = segment(loaded(model), file_of(path))
    depth = gatezoo.predict(model, path, depth=True).depth
    np.testing.assert_allclose(downloads(text)["03_depth.png"] / 1000, depth, atol=6e-4)
    assert any(caption.startswith(f"depth in metres: mean {depth.mean():.3f}") for caption in captions(text))


def test_instances_are_those_of_predict_instances(tmp_path):
    torch.manual_seed(3)
    model = gatezoo.create_model("test_maskrcnn_fpn", num_classes=3).eval()
    path = tmp_path / "cells.png"
    path.write_bytes(sample_file("cells").content)
    _, found = segment(loaded(model), file_of(path))
    least = float(found.found["scores"].median()) + 1e-6
    files = downloads(instances_view(found, least))
    expected = gatezoo.predict_instances(model, path, score_threshold=least)
    record = files["cells.json"]
    assert 0 < len(expected["scores"]) < len(found.found["scores"])
    assert [one["score"] for one in record["instances"]] == pytest.approx(expected["scores"].tolist(), abs=1e-5)
    boxes = np.array([one["box"] for one in record["instances"]])
    np.testing.assert_allclose(boxes, expected["boxes"].numpy(), atol=0.01)
    assert [one["name"] for one in record["instances"]] == expected["names"]
    masks = (expected["masks"] >= 0.5)[:, 0].numpy()
    numbers = np.where(masks.any(0), masks.argmax(0) + 1, 0)
    assert np.array_equal(files["cells_instances.png"], numbers)


def test_large_image_is_predicted_in_windows_without_confidence(shapes, monkeypatch):
    monkeypatch.setattr(segmenting, "MAX_WHOLE_PIXELS", 1000)
    monkeypatch.setattr(predictor_module, "MAX_WHOLE_PIXELS", 1000)
    model = gatezoo.create_model("test_dignet", num_classes=4).eval()
    path = shapes / "images/03.png"
    text, _ = segment(loaded(model), file_of(path))
    assert np.array_equal(downloads(text)["03.png"], gatezoo.predict(model, path))
    assert "without confidence" in text
    assert predict_classes(loaded(model).semantic(), torch.zeros(3, 64, 80)).confidence is None


def test_names_of_files_are_no_markup(shapes):
    model = gatezoo.create_model("test_fcn", num_classes=4).eval()
    name = '"><img src=x onerror=alert(1)>${value}{{value}}.png'
    text, _ = segment(loaded(model), ImageFile(name, (shapes / "images/03.png").read_bytes()))
    assert "<img src=x" not in text
    assert "${" not in text
    assert "{{" not in text
    assert f"{name}, mine" in captions(text)


@pytest.mark.parametrize("name", SAMPLES)
def test_sample_is_drawn_alike_each_time(name):
    image = draw_sample(name)
    assert (image.mode, image.size) == ("RGB", (480, 360))
    assert np.array_equal(np.array(image), np.array(draw_sample(name)))
    assert np.array(image).std() > 20
    assert len(sample_file(name).content) < 400_000
    with sample_file(name).as_file() as path:
        assert np.array_equal(np.array(Image.open(path)), np.array(image))
