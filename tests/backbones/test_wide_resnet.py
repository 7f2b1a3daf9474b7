"""WiderResNet-38: parameter counts, maps, dilation and weights."""

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from gatezoo.backbones import wide_resnet
from gatezoo.backbones.create import make_pyramid
from gatezoo.backbones.wide_resnet import WiderResNet38
from gatezoo.model_info import count_parameters


def norm(channels):
    return 2 * channels


def test_parameter_counts_of_the_published_table():
    """Group by group, worked out by hand: 3x3 and 1x1 convolutions without bias, a norm before each, shortcuts."""
    b1 = 9 * 3 * 64
    b2 = norm(64) + 9 * 64 * 128 + norm(128) + 9 * 128 * 128 + 64 * 128 + 2 * (2 * norm(128) + 2 * 9 * 128 * 128)
    b3 = norm(128) + 9 * 128 * 256 + norm(256) + 9 * 256 * 256 + 128 * 256 + 2 * (2 * norm(256) + 2 * 9 * 256 * 256)
    b4 = norm(256) + 9 * 256 * 512 + norm(512) + 9 * 512 * 512 + 256 * 512 + 5 * (2 * norm(512) + 2 * 9 * 512 * 512)
    b5 = norm(512) + 9 * 512 * 512 + norm(512) + 9 * 512 * 1024 + 512 * 1024
    b5 += 2 * (norm(1024) + 9 * 1024 * 512 + norm(512) + 9 * 512 * 1024)
    b6 = norm(1024) + 1024 * 512 + norm(512) + 9 * 512 * 1024 + norm(1024) + 1024 * 2048 + 1024 * 2048
    b7 = norm(2048) + 2048 * 1024 + norm(1024) + 9 * 1024 * 2048 + norm(2048) + 2048 * 4096 + 2048 * 4096
    with torch.device("meta"):
        net = WiderResNet38()
    assert [count_parameters(group) for group in net.groups] == [b2, b3, b4, b5, b6, b7]
    assert count_parameters(net) == b1 + b2 + b3 + b4 + b5 + b6 + b7 + norm(4096) == 105_070_912
    # 38 layers with weights on the longest path, the ImageNet classifier being the last.
    assert 1 + sum(units * len(widths) for units, widths, _, _ in wide_resnet.GROUPS) + 1 == 38


@pytest.mark.parametrize("output_stride", [8, 16, 32])
def test_maps(output_stride):
    wanted = [min(stride, output_stride) for stride in (1, 2, 4, 8, 16, 32)]
    with torch.device("meta"):
        net = make_pyramid("wider_resnet38", wanted, output_stride=output_stride).eval()
        maps = net(torch.empty(1, 3, 64, 96))
    assert net.strides == wanted
    assert net.channels == [64, 128, 256, 512, 1024, 4096]
    for x, channels, stride in zip(maps, net.channels, net.strides, strict=True):
        assert x.shape == (1, channels, 64 // stride, 96 // stride)


@pytest.fixture
def narrow(monkeypatch):
    """A sixteenth of every width."""
    groups = tuple((units, tuple(w // 16 for w in widths), *rest) for units, widths, *rest in wide_resnet.GROUPS)
    monkeypatch.setattr(wide_resnet, "GROUPS", groups)


@torch.no_grad()
@pytest.mark.parametrize("output_stride", [8, 16])
def test_dilated_network_equals_the_strided_one_at_its_positions(narrow, output_stride):
    strides = [4, 8, 16, 32]
    strided = WiderResNet38(strides=strides).eval()
    for module in strided.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean, std=0.1)
    dilated = WiderResNet38(strides=[min(s, output_stride) for s in strides], output_stride=output_stride).eval()
    dilated.load_state_dict(strided.state_dict())
    image = torch.randn(1, 3, 64, 96)
    for stride, ours, theirs in zip(strides, dilated(image), strided(image), strict=True):
        step = max(1, stride // output_stride)
        torch.testing.assert_close(ours[..., ::step, ::step], theirs, atol=1e-4, rtol=1e-4)


def test_grad_checkpointing_gives_the_same_gradients(narrow):
    net, image = WiderResNet38(strides=[4, 32]).train(), torch.randn(2, 3, 64, 64)
    gradients = []
    for recompute in (False, True):
        net.zero_grad()
        net.set_grad_checkpointing(recompute)
        torch.manual_seed(1)
        sum(x.square().mean() for x in net(image)).backward()
        gradients.append([p.grad.clone() for p in net.parameters()])
    for plain, again in zip(*gradients, strict=True):
        torch.testing.assert_close(again, plain, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_units_follow_norm_and_relu(narrow):
    """A unit by hand: convolutions behind norm and ReLU, a shortcut where the width changes."""
    unit = WiderResNet38().eval().groups[3][0]
    x = torch.randn(2, 32, 8, 8)
    entered = unit.enter(x)
    assert torch.equal(entered, unit.enter[0](x).relu())
    first, norm_, _, second = unit.convolve
    expected = second(norm_(first(entered)).relu()) + unit.shortcut(entered)
    torch.testing.assert_close(unit(x), expected)
    behind = WiderResNet38().eval().groups[3][1]
    x = torch.randn(2, 64, 4, 4)
    assert behind.shortcut is None
    torch.testing.assert_close(behind(x) - x, behind.convolve(behind.enter(x)))


def test_refusals_and_weights_from_a_file(narrow, tmp_path):
    net = WiderResNet38()
    save_file(net.state_dict(), tmp_path / "w.safetensors")
    again = WiderResNet38(pretrained=tmp_path / "w.safetensors")
    assert torch.equal(again.groups[2][1].convolve[0].weight, net.groups[2][1].convolve[0].weight)
    for make, message in (
        (lambda: WiderResNet38(output_stride=4), r"output_stride must be one of \(32, 16, 8\); got 4"),
        (
            lambda: WiderResNet38(strides=[64]),
            r"'wider_resnet38' at output_stride=32 are \[1, 2, 4, 8, 16, 32\]; got 64",
        ),
        (lambda: WiderResNet38(pretrained=True), "has no published weights: pass a safetensors file of them"),
        (
            lambda: WiderResNet38(backbone_args={"depth": 3}),
            "takes no further keywords; got depth: leave backbone_args out",
        ),
        (
            lambda: WiderResNet38(in_chans=1, pretrained=tmp_path / "w.safetensors"),
            "do not fit backbone 'wider_resnet38'",
        ),
    ):
        with pytest.raises(ValueError, match=message):
            make()
