"""Networks made faster for prediction: the same call, the same numbers, used by the predictors as they are."""

import pytest
import torch
from helpers.randomize import randomize
from torch import nn

import gatezoo
from gatezoo.inference import optimizing


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return randomize(gatezoo.create_model("test_dignet", num_classes=4))


@pytest.fixture(scope="module")
def images():
    return torch.randn(2, 3, 64, 80, generator=torch.Generator().manual_seed(0))


@pytest.mark.slow
def test_a_compiled_call_is_the_same(images):
    network = randomize(gatezoo.create_model("test_fcn", num_classes=4))
    optimized = gatezoo.optimize(network, "compile")
    with torch.inference_mode():
        expected = network(images)
        assert (optimized(images) - expected).abs().max() <= 1e-4 * expected.abs().max()


def test_the_call_is_the_same(model, images):
    optimized = gatezoo.optimize(model, "eager")
    with torch.inference_mode():
        for passes in (1, 2):
            expected = model(images, iterations=passes)
            change = (optimized(images, iterations=passes) - expected).abs().max()
            assert change <= 1e-4 * expected.abs().max()
    photo = torch.randint(256, (3, 64, 80), dtype=torch.uint8)
    found, expected = (
        gatezoo.predict(one, photo, probabilities=True, iterations=2).probabilities for one in (optimized, model)
    )
    assert abs(found - expected).max() <= 1e-4


def test_predictors_use_an_optimized_network_as_it_is(model):
    optimized = gatezoo.optimize(model, "eager")
    assert not any(isinstance(module, nn.BatchNorm2d) for module in optimized.modules())
    assert gatezoo.Predictor(optimized).model is optimized
    assert gatezoo.Predictor(model).model is not model
    assert not model.prepared
    photos = torch.randint(256, (9, 3, 40, 48), dtype=torch.uint8)
    maps = gatezoo.predict(optimized, photos)
    assert [one.shape for one in maps] == [(40, 48)] * 9
    gated = gatezoo.Predictor(optimized).predict(photos[0], ablate="G2").classes
    assert (gated == gatezoo.Predictor(model).predict(photos[0], ablate="G2").classes).all()
    torch.manual_seed(0)
    detector = gatezoo.optimize(gatezoo.create_model("test_maskrcnn_fpn", num_classes=3))
    assert gatezoo.InstancePredictor(detector, score_threshold=0.1).model is not detector


def test_the_backend_is_chosen(model, monkeypatch):
    chosen, failing = [], []

    def run(name):
        chosen.append(name)
        if name in failing:
            raise ValueError("not this one")

    for name in optimizing.BACKENDS:
        monkeypatch.setitem(optimizing.BACKENDS, name, lambda network, name=name: run(name))
    for backend in ("compile", "eager", "openvino", "onnxruntime", "auto"):
        gatezoo.optimize(model, backend)
    assert chosen == ["compile", "eager", "openvino", "onnxruntime", "onnxruntime"]
    chosen.clear()
    failing += ["onnxruntime", "openvino"]
    gatezoo.optimize(model)
    assert chosen == ["onnxruntime", "openvino", "eager"]
    with pytest.raises(ValueError, match="not this one"):
        gatezoo.optimize(model, "openvino")


def test_all_of_an_optimized_network_is_in_evaluation_mode(model):
    assert not any(module.training for module in gatezoo.optimize(model, "eager").modules())


def test_compile_compiles_the_call_of_the_copy_alone(model):
    assert gatezoo.optimize(model, "compile")._compiled_call_impl is not None
    assert model._compiled_call_impl is None


def test_what_cannot_be_optimized_is_refused(model):
    with pytest.raises(
        ValueError, match="backend must be one of auto, compile, eager, onnxruntime, openvino; got 'tensorrt'"
    ):
        gatezoo.optimize(model, "tensorrt")
    with pytest.raises(ValueError, match=r"model must be a network of the zoo; got Conv2d"):
        gatezoo.optimize(nn.Conv2d(3, 3, 1))
    with pytest.raises(ValueError, match=r"task must be 'semantic'; got .* of task 'instance': use backend='eager'"):
        gatezoo.optimize(gatezoo.create_model("test_maskrcnn_fpn", num_classes=3), "compile")
