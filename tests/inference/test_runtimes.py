"""Networks that run on ONNX Runtime and OpenVINO: the numbers of eager mode, and what is left to it or refused."""

import copy
import logging
import pickle

import pytest
import torch
from helpers.randomize import randomize

import gatezoo
from gatezoo.inference import ablate_gate, runtimes
from gatezoo.inference.runtimes import RuntimeCall


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return randomize(gatezoo.create_model("test_dignet", num_classes=4)).eval()


@pytest.fixture
def runs():
    """The passes and sizes of the images that the runtime of ``optimized`` gets."""
    return []


@pytest.fixture
def optimized(model, runs, monkeypatch):
    """A network on a runtime which is the network itself: an export of it takes long."""

    def make(call, passes):
        def run(image):
            assert image.flags.c_contiguous
            runs.append((passes, *image.shape[2:]))
            with torch.inference_mode():
                return model(torch.from_numpy(image), iterations=passes).numpy()

        return run

    monkeypatch.setattr(RuntimeCall, "_make", make)
    network = gatezoo.optimize(model, "onnxruntime")
    assert isinstance(network.forward, RuntimeCall)
    return network


def photo(*size):
    return torch.randn(*size, generator=torch.Generator().manual_seed(size[-1]))


def assert_equal(found, expected):
    assert (found.dtype, found.device, found.shape) == (expected.dtype, expected.device, expected.shape)
    assert (found - expected).abs().max() <= 1e-4 * expected.abs().max()


def assert_runs(runtime, network):
    other = gatezoo.optimize(network, runtime)
    passes = ({"iterations": 1}, {"iterations": 3}, {}) if "iterations" in network.capabilities else ({},)
    with torch.inference_mode():
        for kwargs in passes:
            for size in ((1, 3, 101, 83), (2, 3, 64, 97), (1, 3, 250, 131)):
                assert_equal(other(photo(*size), **kwargs), network(photo(*size), **kwargs))
    assert len(other.forward._runs) == len(passes)


def random_network(name):
    torch.manual_seed(0)
    return randomize(gatezoo.create_model(name, num_classes=4)).eval()


def test_onnxruntime_gives_the_numbers_of_eager_mode():
    assert_runs("onnxruntime", random_network("test_fcn"))


@pytest.mark.export
@pytest.mark.parametrize("name", ["test_dignet", "test_zigzag", "test_gff", "test_fcn"])
@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_every_runtime_gives_the_numbers_of_eager_mode(runtime, name):
    assert_runs(runtime, random_network(name))


@pytest.mark.export
@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_every_runtime_gives_the_numbers_of_trained_gates(runtime, caplog):
    # Random weights of this network amplify rounding beyond the bound.
    assert_runs(runtime, gatezoo.create_model("gff_pspnet_lite0_nodfp", pretrained=True).eval())
    # A user is not warned of what cannot be helped.
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


@pytest.mark.parametrize("size", [(1, 3, 101, 83), (2, 3, 64, 97), (3, 3, 131, 64)])
@torch.inference_mode()
def test_a_batch_is_run_image_by_image(model, optimized, runs, size):
    images = photo(*size)
    assert_equal(optimized(images), model(images))
    assert_equal(optimized(images.contiguous(memory_format=torch.channels_last)), model(images))
    assert runs == [(2, *size[2:])] * 2 * size[0]


@torch.inference_mode()
def test_the_number_of_passes_is_followed(model, optimized, runs):
    images = photo(1, 3, 70, 90)
    assert_equal(optimized(images, 3), model(images, 3))
    assert_equal(optimized(images, iterations=1), model(images, iterations=1))
    optimized.iterations = 4
    assert_equal(optimized(images), model(images, 4))
    assert [passes for passes, *_ in runs] == [3, 1, 4]
    with pytest.raises(ValueError, match="iterations must be a whole number"):
        optimized(images, iterations=0)


@torch.inference_mode()
def test_what_a_graph_does_not_compute_runs_eagerly(model, optimized, runs):
    images = photo(1, 3, 70, 90)
    assert_equal(optimized(images[..., :40]), model(images[..., :40]))
    for found, expected in zip(optimized.iterate(images, 3), model.iterate(images, 3), strict=True):
        assert_equal(found, expected)
    assert len(optimized.outputs(images).gates) == len(model.outputs(images).gates) > 0
    with ablate_gate(optimized, "G2"), ablate_gate(model, "G2"):
        assert_equal(optimized(images), model(images))
    with torch.autocast("cpu", torch.bfloat16):
        assert optimized(images).dtype == model(images).dtype
    assert optimized(images[:0]).shape == (0, 4, 70, 90)
    with torch.inference_mode(False):
        inputs = photo(1, 3, 70, 90).requires_grad_()
        optimized(inputs).sum().backward()
        assert inputs.grad.abs().max() > 0
    for wrong in (images[0], images.byte(), images[:, :2]):
        with pytest.raises(ValueError, match="images must be"):
            optimized(wrong)
    assert runs == []
    assert_equal(optimized(images), model(images))
    assert len(runs) == 1


def test_predictors_use_the_runtime(model, optimized, runs):
    pixels = torch.randint(256, (3, 101, 83), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    assert (gatezoo.predict(optimized, pixels) == gatezoo.predict(model, pixels)).mean() > 0.999
    predictor = gatezoo.Predictor(optimized)
    assert predictor.model is optimized
    assert (predictor.predict(pixels).classes == gatezoo.predict(model, pixels)).mean() > 0.999
    assert len(runs) == 2
    gated = predictor.predict(pixels, ablate="G2").classes
    assert (gated == gatezoo.Predictor(model).predict(pixels, ablate="G2").classes).mean() > 0.999
    assert len(runs) == 2


@torch.inference_mode()
def test_copies_run_eagerly(model, optimized, runs):
    images = photo(1, 3, 70, 90)
    for other in (copy.deepcopy(optimized), pickle.loads(pickle.dumps(optimized))):
        assert_equal(other(images), model(images))
        other.load_state_dict(optimized.state_dict())
        for weight in other.parameters():
            weight.zero_()
        assert other(images).abs().max() == 0
    assert runs == []


@torch.inference_mode()
def test_other_weights_and_training_are_refused(optimized, runs):
    images = photo(1, 3, 70, 90)
    optimized.train()
    with pytest.raises(ValueError, match="must be in evaluation mode"):
        optimized(images)
    optimized.eval()
    with pytest.raises(ValueError, match="images must be on the CPU for onnxruntime; got meta"):
        optimized(images.to("meta"))
    optimized(images)
    optimized.load_state_dict(optimized.state_dict())
    with pytest.raises(ValueError, match="weights must stay as they were when onnxruntime got them"):
        optimized(images)
    assert len(runs) == 1


def test_what_no_runtime_runs_is_refused(model, monkeypatch):
    with pytest.raises(ValueError, match=r"task must be 'semantic'; got .*: use backend='eager'"):
        gatezoo.optimize(gatezoo.create_model("test_maskrcnn_fpn", num_classes=3), "onnxruntime")
    with pytest.raises(ValueError, match="runs networks of an image alone"):
        gatezoo.optimize(gatezoo.create_model("test_depthgate_given"), "onnxruntime")
    with pytest.raises(ValueError, match="must be on the CPU for backend='onnxruntime'; got meta"):
        runtimes.run_on_onnxruntime(copy.deepcopy(model).to("meta"))

    def fail(*arguments):
        raise RuntimeError("no such operation\nin many\nlines")

    monkeypatch.setattr(runtimes, "trace", fail)
    with pytest.raises(ValueError, match=r"must be exportable to ONNX for backend='openvino'; got .*no such operation"):
        gatezoo.optimize(model, "openvino")
    monkeypatch.setattr("gatezoo.utils.optional._is_installed", lambda package: package != "openvino")
    with pytest.raises(ValueError, match=r"backend='openvino' needs the package openvino: run pip install \"gatezoo\["):
        gatezoo.optimize(model, "openvino")


def test_other_numbers_are_refused(model, monkeypatch):
    class Graph:
        class model_proto:
            SerializeToString = bytes

    monkeypatch.setattr(runtimes, "trace", lambda *arguments: None)
    monkeypatch.setattr(runtimes, "to_onnx", lambda *arguments: Graph)

    def times(factor):
        return lambda graph, threads: lambda image: (model(torch.from_numpy(image)) * factor).detach().numpy()

    network = gatezoo.optimize(model, "eager")
    RuntimeCall(network, "openvino", times(1 + 1e-6)).prepare()
    for factor in (1.001, float("nan")):
        with pytest.raises(ValueError, match="must give the same numbers with backend='openvino'"):
            RuntimeCall(network, "openvino", times(factor)).prepare()
