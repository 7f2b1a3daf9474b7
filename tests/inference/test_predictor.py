"""The predictor: what it computes, that it leaves the caller's network alone, and that threads can share it."""

import logging
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

import gatezoo
from gatezoo.inference import predictor as predictors
from gatezoo.inference.gate_maps import compute_gate_maps
from gatezoo.inference.modes import MultiScale, SlidingWindow, WholeImage
from gatezoo.inference.predictor import Predictor
from gatezoo.utils.modules import copy_for_inference


def random_network(name, **keywords):
    """Create a network whose gates and classifier differ from pixel to pixel."""
    torch.manual_seed(0)
    model = gatezoo.create_model(name, num_classes=4, **keywords)
    for part in (*model.gate_modules().values(), model.head):
        for module in part.modules():
            if isinstance(module, torch.nn.Conv2d):
                torch.nn.init.normal_(module.weight, std=0.3)
    return model


@pytest.fixture(scope="module")
def model():
    return random_network("test_dignet")


@pytest.fixture(scope="module")
def image():
    return torch.randint(256, (3, 64, 96), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


def logits_of_passes(model, image, iterations):
    with torch.no_grad():
        batch = model.make_normalize()(image[None]).contiguous(memory_format=torch.channels_last)
        return model.eval().outputs(batch, iterations=iterations).iterations


def test_probabilities_confidence_and_instability(model, image):
    found = Predictor(model, iterations=3).predict(image, probabilities=True, all_passes=True)
    expected = [logits.softmax(1)[0].numpy() for logits in logits_of_passes(model, image, 3)]
    for one, probabilities in zip(found.passes, expected, strict=True):
        np.testing.assert_allclose(one.probabilities, probabilities, atol=1e-6)
        assert np.array_equal(one.classes, probabilities.argmax(0))
    np.testing.assert_allclose(found.confidence, expected[-1].max(0), atol=1e-6)
    np.testing.assert_allclose(found.instability, np.abs(expected[2] - expected[1]).sum(0) / 2, atol=1e-6)
    assert found.instability.max() > 0
    assert [one.iterations for one in found.passes] == [1, 2, 3]
    assert found.passes[0].instability is None
    plain = Predictor(model, iterations=3).predict(image)
    assert (plain.probabilities, plain.instability, plain.confidence, plain.passes) == (None, None, None, [])
    assert np.array_equal(plain.classes, found.classes)


@pytest.mark.parametrize("merge", ["mean", "max"])
def test_merged_passes(model, image, merge):
    found = Predictor(model, iterations=3, merge=merge).predict(image, probabilities=True, all_passes=True)
    each = torch.stack([logits.softmax(1)[0] for logits in logits_of_passes(model, image, 3)])
    merged = each.mean(0) if merge == "mean" else each.amax(0) / each.amax(0).sum(0)
    np.testing.assert_allclose(found.probabilities, merged, atol=1e-6)
    assert np.array_equal(found.classes, merged.argmax(0))
    assert len(found.passes) == 3
    np.testing.assert_allclose(found.passes[-1].probabilities, each[-1], atol=1e-6)


def test_windows_give_probabilities_too(model, image):
    found = Predictor(model, mode=SlidingWindow(48)).predict(image, probabilities=True)
    assert found.instability is None
    np.testing.assert_allclose(found.probabilities.sum(0), 1, atol=1e-5)
    assert np.array_equal(found.classes, gatezoo.predict(model, image, mode=SlidingWindow(48)))


def test_the_callers_network_is_left_alone(image):
    model = random_network("test_dignet").train()
    hooked, gate = [], model.gate_modules()[3]
    gate.register_forward_hook(lambda *arguments: hooked.append(1))
    model.score_threshold = 0.25  # an attribute of the caller's
    before = {name: value.clone() for name, value in model.state_dict().items()}
    Predictor(model, "cpu:0").predict(image, probabilities=True, ablate="G3")
    assert model.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert len(gate._forward_hooks) == 1
    assert next(model.parameters()).device == torch.device("cpu")
    model(torch.randn(2, 3, 64, 64)).mean().backward()  # nothing was left in inference mode
    assert all(parameter.grad is not None for parameter in model.head.parameters())


def test_copies_share_weights_but_not_modules(model):
    copied = copy_for_inference(model.train())
    assert not copied.training
    assert model.training
    assert all(a is b for a, b in zip(copied.parameters(), model.parameters(), strict=True))
    assert all(a is b for a, b in zip(copied.buffers(), model.buffers(), strict=True))
    assert not set(copied.modules()) & set(model.modules())
    moved = copy_for_inference(model, "meta")
    assert {parameter.device.type for parameter in moved.parameters()} == {"meta"}
    assert {parameter.device.type for parameter in model.parameters()} == {"cpu"}


def test_eight_threads_get_what_one_thread_gets(model, image):
    predictor, names = Predictor(model, iterations=2), [f"G{n}" for n in model.gate_modules()]
    calls = [(image.roll(turn, -1), names[turn % len(names)] if turn % 3 else None) for turn in range(24)]

    def probabilities(call):
        return predictor.predict(call[0], ablate=call[1], probabilities=True).probabilities

    expected = [probabilities(call) for call in calls]
    plain = [predictor.predict(x).classes for x, _ in calls]
    assert not np.allclose(expected[1], probabilities((calls[1][0], None)))
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(probabilities, calls))
        maps = list(pool.map(lambda call: compute_gate_maps(model, *call, iterations=2), calls))
        whole = list(pool.map(lambda call: gatezoo.predict(model, call[0], iterations=2), calls))
    for turn, (_, name) in enumerate(calls):
        assert np.array_equal(found[turn], expected[turn])
        assert np.array_equal(whole[turn], plain[turn])
        assert np.array_equal(maps[turn].classes, plain[turn])
        if name:
            assert np.array_equal(maps[turn].ablated_classes, expected[turn].argmax(0))


def test_eight_threads_with_instance_limits():
    torch.manual_seed(0)
    model = gatezoo.create_model("test_maskrcnn_fpn", num_classes=3).eval()
    images = [torch.randint(256, (3, 64, 64), dtype=torch.uint8) for _ in range(4)]
    limits = [(0.0, most) for most in (1, 2, 5, 100)] * 4
    expected = {
        most: [len(gatezoo.predict_instances(model, x, None, 0.0, most)["scores"]) for x in images]
        for _, most in limits[:4]
    }
    assert expected[1] == [1] * 4
    assert expected[100] > expected[5]
    own = model.score_threshold, model.max_detections
    with ThreadPoolExecutor(8) as pool:
        found = list(
            pool.map(
                lambda limit: [len(one["scores"]) for one in gatezoo.predict_instances(model, images, None, *limit)],
                limits,
            )
        )
    assert found == [expected[most] for _, most in limits]
    assert (model.score_threshold, model.max_detections) == own


def test_large_images_are_cut_into_windows_and_this_is_said_once(model, image, monkeypatch, caplog):
    monkeypatch.setattr(predictors, "MAX_WHOLE_PIXELS", 64 * 96 - 1)
    monkeypatch.setattr(predictors, "LARGE_IMAGE_MODE", SlidingWindow(48))
    predictor = Predictor(model)
    with caplog.at_level(logging.INFO, "gatezoo"):
        found = [predictor.predict(image).classes for _ in range(2)]
    assert np.array_equal(found[0], gatezoo.predict(model, image, mode=SlidingWindow(48)))
    assert [record.getMessage() for record in caplog.records] == [
        "images above 0.006143 megapixels are predicted in windows of 48x48 that overlap by 50%; --window-size chooses "
        "another size"
    ]
    whole = Predictor(model, mode=WholeImage()).predict(image).classes
    assert not np.array_equal(whole, found[0])
    with pytest.raises(ValueError, match=r"an image must have at most .* megapixels to be predicted whole"):
        predictor.predict(image, all_passes=True)


def test_given_depth(image):
    model = random_network("test_depthgate_given")
    depth = np.full((64, 96), 2.0, np.float32)
    near = Predictor(model).predict(image, depth, probabilities=True)
    far = Predictor(model).predict(image, torch.full((64, 96), 4.5), probabilities=True)
    assert not np.allclose(near.probabilities, far.probabilities)
    assert np.array_equal(gatezoo.predict(model, [image, image], depth_map=[depth, depth])[1], near.classes)
    for wrong, message in (
        (None, "depth_map must be given to a network that is gated by the depth"),
        (depth[:10], r"depth_map must have the size of its image, \(64, 96\); got \(10, 96\)"),
        (depth.astype(np.uint16), r"depth_map must be a floating point array .* got uint16 \(64, 96\)"),
        ("depth.png", "depth_map must be a floating point array .* got str"),
    ):
        with pytest.raises(ValueError, match=message):
            Predictor(model).predict(image, wrong)
    with pytest.raises(ValueError, match="depth_map must be left out"):
        gatezoo.predict(gatezoo.create_model("test_fcn"), image, depth_map=depth)


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        (dict(merge="sum"), "merge must be one of max, mean; got 'sum'"),
        (dict(merge="max", mode=MultiScale()), "merge requires whole images at one scale; got scales"),
        (dict(iterations="auto", mode=SlidingWindow()), "iterations='auto' requires whole images"),
        (dict(tolerance=1.5), r"tolerance must be a share of the pixels, in 0 \.\. 1; got 1.5"),
        (dict(blur=-1), "blur must be a standard deviation"),
        (dict(device="cuda:99"), "device must be one of this machine's: .*; got cuda:99"),
        (dict(device="abc"), "device must be auto, cpu, cuda, cuda:1 or mps; got 'abc'"),
    ],
)
def test_wrong_arguments_are_refused_at_once(model, keywords, message):
    with pytest.raises(ValueError, match=message):
        Predictor(model, **keywords)


def test_names_and_other_tasks_are_refused():
    with pytest.raises(ValueError, match="merge requires a network that is unrolled; got 'max' for one pass"):
        Predictor(gatezoo.create_model("test_fcn"), merge="max")
    with pytest.raises(ValueError, match=r"model must be a network of the zoo; got str: pass gatezoo\.create_model"):
        gatezoo.predict("test_fcn", torch.zeros(3, 64, 64))
    with pytest.raises(ValueError, match=r"use gatezoo\.predict_instances"):
        Predictor(gatezoo.create_model("test_maskrcnn_fpn", num_classes=3))
    with pytest.raises(ValueError, match=r"use gatezoo\.predict"):
        gatezoo.InstancePredictor(gatezoo.create_model("test_fcn"))
    assert gatezoo.predict(gatezoo.create_model("test_fcn"), []) == []
