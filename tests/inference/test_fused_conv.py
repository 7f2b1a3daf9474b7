"""Convolutions fused with their activations: the same numbers, Winograd's too, and torch's own where they differ."""

import copy

import pytest
import torch
import torch.nn.functional as F
from helpers.randomize import randomize
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

import gatezoo
from gatezoo.backbones.free_sizes import SamePaddedConv2d
from gatezoo.inference import folding, fused_conv, fusing
from gatezoo.inference.folding import prepare_for_inference
from gatezoo.inference.fused_conv import FusedConv2d

ACTIVATIONS = {"none": None, "relu": nn.ReLU(), "relu6": nn.ReLU6(), "silu": nn.SiLU(), "hardswish": nn.Hardswish()}
GEOMETRIES = {
    "pointwise": dict(kernel_size=1),
    "strided": dict(kernel_size=3, stride=2, padding=1),
    "dilated": dict(kernel_size=3, dilation=2, padding=2, bias=False),
    "depthwise": dict(kernel_size=3, padding=1, groups=8),
    "long": dict(kernel_size=(1, 5), padding=(0, 2)),
    "same": dict(kernel_size=3, stride=2),
}
FUSABLE = fusing.can_fuse(nn.Conv2d(1, 1, 1))


class Operations(TorchDispatchMode):
    """Names of the operations that run."""

    def __init__(self):
        super().__init__()
        self.names = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.names.append(function.overloadpacket.__name__)
        return function(*args, **(kwargs or {}))


def fused(conv, activation=None):
    conv = copy.deepcopy(conv)
    FusedConv2d.take_over(conv, activation, isinstance(conv, SamePaddedConv2d))
    return conv


def make_conv(in_channels, out_channels, same=False, **geometry):
    torch.manual_seed(0)
    return (SamePaddedConv2d if same else nn.Conv2d)(in_channels, out_channels, **geometry).requires_grad_(False)


def assert_close(found, expected, change=1e-5):
    assert found.shape == expected.shape
    assert ((found - expected).abs().max() <= change * expected.abs().max()).item()


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_a_fused_convolution_computes_the_same(geometry, activation):
    conv, layer = make_conv(8, 16, geometry == "same", **GEOMETRIES[geometry]), ACTIVATIONS[activation]
    x = 4 * torch.randn(2, 8, 67, 70)
    plain = conv(x) if layer is None else layer(conv(x))
    for layout in (torch.contiguous_format, torch.channels_last):
        with Operations() as operations:
            found = fused(conv, layer)(x.contiguous(memory_format=layout))
        assert_close(found, plain)
        assert ("_convolution_pointwise" in operations.names) == FUSABLE
        assert "convolution" not in operations.names or not FUSABLE


@pytest.mark.parametrize(("dilation", "height", "width"), [(1, 49, 50), (1, 64, 64), (2, 47, 58), (4, 64, 61)])
def test_winograd_computes_the_same(monkeypatch, dilation, height, width):
    monkeypatch.setattr(fused_conv, "_has_winograd", torch._nnpack_available)
    conv = make_conv(128, 144, kernel_size=3, padding=dilation, dilation=dilation)
    x = torch.randn(1, 128, height, width)
    with Operations() as operations:
        found = fused(conv, nn.ReLU())(x)
    assert_close(found, conv(x).relu(), 1e-4)
    assert ("_nnpack_spatial_convolution" in operations.names) == torch._nnpack_available()


@pytest.mark.parametrize("shape", [(2, 128, 64, 64), (1, 128, 24, 24), (1, 128, 3, 600)])
def test_winograd_is_left_out_where_it_does_not_pay(monkeypatch, shape):
    monkeypatch.setattr(fused_conv, "_has_winograd", torch._nnpack_available)
    conv = make_conv(128, 128, kernel_size=3, padding=1)
    x = torch.randn(shape)
    with Operations() as operations:
        found = fused(conv)(x)
    assert "_nnpack_spatial_convolution" not in operations.names
    assert_close(found, conv(x))


def test_everything_else_is_computed_by_torch():
    conv = make_conv(8, 8, kernel_size=3, padding=1)
    quick = fused(conv, nn.ReLU6())
    assert quick(torch.randn(0, 8, 5, 5)).shape == (0, 8, 5, 5)
    x = torch.randn(1, 8, 20, 20, requires_grad=True)
    (gradient,) = torch.autograd.grad(quick(x).sum(), x)
    (expected,) = torch.autograd.grad(F.relu6(conv(x)).sum(), x)
    assert_close(gradient, expected)
    double = x.detach().double()
    assert_close(copy.deepcopy(quick).double()(double), F.relu6(conv.double()(double)), 1e-12)
    exported = torch.export.export(quick, (x.detach(),)).module()
    assert_close(exported(x.detach()), quick(x.detach()))


class Odd(nn.Module):
    """A convolution and an activation, and a second use of one of them."""

    def __init__(self, kind):
        super().__init__()
        self.conv, self.other = (nn.Conv2d(4, 4, 3, padding=1) for _ in range(2))
        self.act, self.kind = nn.ReLU(inplace=kind == "in place"), kind

    def forward(self, x):
        if self.kind == "weight":
            return self.act(F.conv2d(x, -self.conv.weight, padding=1)) + self.conv(x)
        y = self.conv(x)
        if self.kind == "result":
            return self.act(y) + y
        if self.kind == "shared":
            return self.act(y) + self.act(self.other(x))
        if self.kind == "between":
            return self.act(y * 2 - 1)
        if self.kind == "view":
            return self.act(y) + y[..., :1]
        return self.act(y) - x


@pytest.mark.parametrize(
    "kind",
    ["weight", "result", "shared", "between", "view", "conv hook", "act hook", " hook", "in place", "only"],
)
def test_only_pairs_that_nothing_else_reads_are_fused(kind):
    torch.manual_seed(0)
    model = randomize(gatezoo.create_model("test_fcn", num_classes=4))
    odd = randomize(Odd(kind))
    model.head = nn.Sequential(model.head, odd)
    if kind.endswith("hook"):
        odd.get_submodule(kind.removesuffix(" hook")).register_forward_hook(lambda *arguments: None)
    prepared = prepare_for_inference(model.eval())
    found = prepared.head[1]
    assert isinstance(found.act, nn.Identity) == (FUSABLE and kind in ("in place", "only"))
    assert isinstance(found.conv, FusedConv2d) == (FUSABLE and kind not in ("conv hook", " hook"))
    with torch.no_grad():
        image = torch.randn(1, 3, 64, 64)
        assert_close(prepared(image), model(image), 1e-4)


def test_prepared_networks_are_fused_in_float32_on_a_cpu():
    model = gatezoo.create_model("test_zigzag")
    prepared = prepare_for_inference(model)
    layers = [module for module in prepared.modules() if isinstance(module, FusedConv2d)]
    activated = [layer for layer in layers if not isinstance(layer.activation, nn.Identity)]
    assert (len(activated) > 0) == FUSABLE
    assert list(model.state_dict()) == list(gatezoo.create_model("test_zigzag").state_dict())
    double = prepare_for_inference(model.double())
    assert not any(isinstance(module, FusedConv2d) for module in double.modules())


def test_nothing_is_fused_if_the_numbers_change(monkeypatch):
    model = gatezoo.create_model("test_fcn")

    def wrong(network, run, kept):
        next(module for module in network.modules() if isinstance(module, nn.Conv2d)).weight.data.mul_(1.01)

    monkeypatch.setattr(folding, "fuse_activations", wrong)
    monkeypatch.setattr(folding, "can_fuse", lambda network: True)
    with torch.no_grad():
        image = torch.randn(1, 3, 64, 64)
        assert torch.equal(prepare_for_inference(model)(image), model.eval()(image))
