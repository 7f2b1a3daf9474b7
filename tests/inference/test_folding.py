"""Networks prepared for prediction: batch norm folded into convolutions, the same numbers, the caller's left alone."""

import pytest
import torch
from helpers.randomize import randomize
from torch import nn

import gatezoo
from gatezoo.inference import folding
from gatezoo.inference.folding import prepare_for_inference
from gatezoo.inference.instance import InstancePredictor
from gatezoo.inference.modes import MultiScale
from gatezoo.inference.predictor import Predictor
from gatezoo.registry import get_model_spec

# Batch norms of each tiny network that do not follow a convolution, and so remain.
REMAINING = {"test_gff_decoder": 3}
TINY = [name for name in gatezoo.list_models("test_*") if get_model_spec(name).task == "semantic"]
CHANGE = 1e-4


def network(name, **keywords):
    torch.manual_seed(0)
    return randomize(gatezoo.create_model(name, num_classes=4, **keywords))


def norms(model):
    return [name for name, module in model.named_modules() if isinstance(module, nn.BatchNorm2d)]


def image_of(model, height=40, width=72):
    return torch.randint(256, (model.in_chans, height, width), dtype=torch.uint8)


def depth_of(model, image):
    return 1 + 9 * torch.rand(image.shape[-2:]) if model.takes_depth else None


def assert_close(found, expected, change=CHANGE):
    assert found.shape == expected.shape
    assert ((found - expected).abs().max() <= change * expected.abs().max()).item()


@pytest.mark.parametrize("name", TINY)
def test_folded_networks_predict_the_same(name):
    model = network(name)
    image = image_of(model)
    depth = depth_of(model, image)
    plain, folded = Predictor(model, shared=True), Predictor(model)
    assert len(norms(folded.model)) == REMAINING.get(name, 0) < len(norms(model))
    assert list(folded.model.gate_modules()) == list(model.gate_modules())
    flags = {"all_passes": True, "probabilities": True, "depth": model.predicts_depth, "logits": True}
    for found, expected in zip(folded.run(image, depth, **flags), plain.run(image, depth, **flags), strict=True):
        assert_close(found.logits, expected.logits)
        assert_close(found.probabilities, expected.probabilities)
        if expected.depth is not None:
            assert_close(found.depth, expected.depth)
    outputs, own = folded.outputs(image, depth), plain.outputs(image, depth)
    for gates, expected in zip(outputs.gates, own.gates, strict=True):
        for number, gate in expected.items():
            assert_close(gates[number], gate)
    for logits, expected in zip(outputs.auxiliary, own.auxiliary, strict=True):
        assert_close(logits, expected)


@pytest.mark.parametrize("name", ["test_dignet", "test_rignet", "test_rignet_su", "test_gff", "test_gff_light"])
def test_gates_are_ablated_by_their_names(name):
    model = network(name)
    image = image_of(model)
    plain, folded = Predictor(model, shared=True), Predictor(model)
    whole = plain.predict(image, probabilities=True).probabilities
    differ = False
    for number in model.gate_modules():
        options = {"ablate": f"G{number}", "probabilities": True}
        found, expected = folded.predict(image, **options), plain.predict(image, **options)
        assert_close(torch.from_numpy(found.probabilities), torch.from_numpy(expected.probabilities))
        differ |= bool(abs(expected.probabilities - whole).max() > 10 * CHANGE)
    assert differ


@pytest.mark.parametrize("backbone", ["mobilenetv2_035", "tf_efficientnet_lite0", "resnet18", "densenet121"])
@pytest.mark.parametrize("name", ["fcn_resnet50_32s", "pspnet_r50"])
def test_backbones_are_folded(name, backbone):
    """In float64: the random weights of deep networks amplify float32's rounding beyond the bound, folded or not."""
    model = network(name, backbone=backbone).double()
    folded = prepare_for_inference(model)
    left = norms(folded)
    # DenseNet normalizes before it convolves: what several layers read cannot be folded.
    assert (len(left) > 0) == (backbone == "densenet121")
    assert all("norm1" in name or "transition" in name or "norm5" in name for name in left)
    with torch.no_grad():
        image = torch.randn(2, 3, 64, 96, dtype=torch.float64)
        assert_close(folded(image), model(image), 1e-10)


def test_instances_stay_the_same():
    model = network("test_zigzag_maskrcnn")
    image = torch.randint(256, (3, 64, 80), dtype=torch.uint8)
    predictor = InstancePredictor(model, score_threshold=0.0)
    assert norms(model)
    assert not norms(predictor.model)
    with torch.no_grad():
        batch = torch.randn(1, 3, 64, 64)
        assert_close(predictor.model.raw_outputs(batch), model.raw_outputs(batch))
        expected = model([image / 255])[0]
    found = predictor.run(image)
    assert len(found["scores"]) > 0
    assert_close(found["scores"], expected["scores"][: len(found["scores"])])


def test_the_callers_network_is_not_changed():
    model = network("test_dignet").train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    layouts = {name: value.stride() for name, value in model.state_dict().items()}
    modules = dict(model.named_modules())
    folded = prepare_for_inference(model)
    assert not folded.training
    assert model.training
    assert dict(model.named_modules()) == modules
    assert {name: value.stride() for name, value in model.state_dict().items()} == layouts
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not any(module._forward_hooks for module in model.modules())
    own = {tensor.data_ptr() for tensor in (*folded.parameters(), *folded.buffers()) if tensor.numel()}
    assert not own & {tensor.data_ptr() for tensor in (*model.parameters(), *model.buffers())}


def test_what_is_trained_later_does_not_reach_a_predictor():
    model = network("test_gff")
    image = image_of(model)
    predictor = Predictor(model)
    before = predictor.predict(image, probabilities=True).probabilities
    with torch.no_grad():
        for tensor in (*model.parameters(), *model.buffers()):
            tensor.mul_(0)
    assert (predictor.predict(image, probabilities=True).probabilities == before).all()
    assert (Predictor(model).predict(image, probabilities=True).probabilities != before).any()


class Odd(nn.Module):
    """Convolution, batch norm and a second use of one of them."""

    def __init__(self, kind):
        super().__init__()
        self.conv, self.norm, self.kind = nn.Conv2d(3, 3, 3, padding=1), nn.BatchNorm2d(3), kind

    def forward(self, x):
        y = self.conv(x)
        if self.kind == "result":
            return self.norm(y) + y
        if self.kind == "weight":
            return self.norm(y) + self.conv.weight.sum()
        if self.kind == "norm":
            return self.norm(y) + self.norm(x)
        if self.kind == "between":
            return self.norm(y.relu())
        return self.norm(y)


@pytest.mark.parametrize("kind", ["result", "weight", "norm", "between", "conv hook", "norm hook", " hook", "only"])
def test_only_pairs_that_nothing_else_reads_are_folded(kind):
    model = network("test_fcn")
    odd = randomize(Odd(kind))
    model.head = nn.Sequential(model.head, nn.Conv2d(4, 3, 1), odd, nn.Conv2d(3, 4, 1))
    calls = []
    if kind.endswith("hook"):
        odd.get_submodule(kind.removesuffix(" hook")).register_forward_hook(
            lambda *arguments: calls.append(arguments[2])
        )
    folded = prepare_for_inference(model.eval())
    assert not calls
    assert ("head.2.norm" in norms(folded)) == (kind != "only")
    assert len(norms(folded)) <= 1
    with torch.no_grad():
        image = torch.randn(1, 3, 64, 64)
        assert_close(folded(image), model(image))
    assert len(calls) == (2 if kind.endswith("hook") else 0)


def test_hooks_of_the_network_itself_keep_working():
    model = network("test_fcn")
    calls = []
    model.register_forward_pre_hook(lambda *arguments: calls.append("before"))
    model.register_forward_hook(lambda *arguments: calls.append("after"))
    folded = prepare_for_inference(model)
    assert not norms(folded)
    assert not calls
    folded(torch.randn(1, 3, 64, 64))
    assert calls == ["before", "after"]


def test_nothing_is_folded_if_the_numbers_change(monkeypatch):
    model = network("test_fcn")

    def wrong(network, conv, norm):
        network.get_submodule(conv).weight.data.mul_(1.01)

    monkeypatch.setattr(folding, "_fold", wrong)
    kept = prepare_for_inference(model)
    assert norms(kept) == norms(model)
    with torch.no_grad():
        image = torch.randn(1, 3, 64, 64)
        assert torch.equal(kept(image), model(image))


def test_folding_with_scaled_images_and_flips():
    model = network("test_pspnet")
    image, mode = image_of(model, 64, 90), MultiScale((0.75, 1.0))
    found, expected = (
        Predictor(model, mode=mode, shared=shared).predict(image, probabilities=True).probabilities
        for shared in (False, True)
    )
    assert_close(torch.from_numpy(found), torch.from_numpy(expected))
