"""WiderResNet-38: parameter counts, maps, dilation and weights."""

import re

import pytest
import torch
import torch.nn.functional as F
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


# The published network, one row a convolution: (group, unit, place in the unit, kernel, stride, dilation at output
# stride 32), and what differs at 8. Max-pooling, not a stride, begins groups 2 and 3.
def published_convolutions(dilated):
    rows = []
    for group, units in {2: 3, 3: 3, 4: 6, 5: 3, 6: 1, 7: 1}.items():
        dilation = {5: 2, 6: 4, 7: 4}.get(group, 1) if dilated else 1
        strides = (4,) if dilated else (4, 5, 6)
        for unit in range(1, units + 1):
            for place, kernel in enumerate((1, 3, 1) if group > 5 else (3, 3), start=1):
                stride = 2 if group in strides and unit == 1 and place == 1 else 1
                rows.append((group, unit, place, kernel, stride, dilation if kernel == 3 else 1))
    return rows


def published_forward(state, image, dilated):
    """Compute all maps of the published network from a state dict of its own names, with functions alone."""

    def norm_relu(name, x):
        parts = (state[f"{name}.{part}"] for part in ("running_mean", "running_var", "weight", "bias"))
        return F.batch_norm(x, *parts).relu()

    rows = published_convolutions(dilated)
    x = F.conv2d(image, state["mod1.conv1.weight"], padding=1)
    maps = [x]
    for group in range(2, 8):
        if group < 4:
            x = F.max_pool2d(x, 3, 2, 1)
        for unit in sorted({row[1] for row in rows if row[0] == group}):
            name = f"mod{group}.block{unit}"
            convolutions = [row[2:] for row in rows if row[:2] == (group, unit)]
            y = entered = norm_relu(f"{name}.bn1", x)
            for place, kernel, stride, dilation in convolutions:
                if place > 1:
                    y = norm_relu(f"{name}.convs.bn{place}", y)
                weight = state[f"{name}.convs.conv{place}.weight"]
                assert weight.shape[-1] == kernel
                y = F.conv2d(y, weight, None, stride, dilation * (kernel // 2), dilation)
            shortcut = state.get(f"{name}.proj_conv.weight")
            x = y + (x if shortcut is None else F.conv2d(entered, shortcut, None, convolutions[0][2]))
        maps.append(x)
    return [*maps[:5], norm_relu("bn_out", x)]


def published_state(divisor):
    """Return random tensors of the published network by its own names, every width divided."""
    generator = torch.Generator().manual_seed(3)

    def random(*shape):
        return torch.randn(*shape, generator=generator)

    def add_norm(name, channels):
        state[f"{name}.weight"], state[f"{name}.bias"] = 1 + 0.3 * random(channels), 0.2 * random(channels)
        state[f"{name}.running_mean"], state[f"{name}.running_var"] = random(channels), 0.5 + random(channels).abs()
        state[f"{name}.num_batches_tracked"] = torch.tensor(7)

    widths = {2: (128, 128), 3: (256, 256), 4: (512, 512), 5: (512, 1024), 6: (512, 1024, 2048), 7: (1024, 2048, 4096)}
    state = {"mod1.conv1.weight": random(64, 3, 3, 3) / 5}
    before = 64
    for group, unit, place, kernel, _, _ in published_convolutions(dilated=False):
        name, width = f"mod{group}.block{unit}", widths[group][place - 1] // divisor
        if place == 1:
            add_norm(f"{name}.bn1", before)
            if before != widths[group][-1] // divisor:
                state[f"{name}.proj_conv.weight"] = random(widths[group][-1] // divisor, before, 1, 1) / before**0.5
        else:
            add_norm(f"{name}.convs.bn{place}", before)
        state[f"{name}.convs.conv{place}.weight"] = random(width, before, kernel, kernel) / (kernel * before**0.5)
        before = width
    add_norm("bn_out", before)
    return state


@torch.no_grad()
@pytest.mark.parametrize("prefix", ["", "module."])
@pytest.mark.parametrize("output_stride", [8, 32])
def test_published_weights_give_the_numbers_of_the_published_network(narrow, tmp_path, output_stride, prefix):
    """Norms are layers of their own in one of the published versions, and the first of norm and ReLU in another."""
    state = published_state(16)
    names = {key: re.sub(r"(bn\w+)", r"\1.0", key) if prefix else key for key in state}
    classifier = {f"{prefix}classifier.fc.bias": torch.zeros(1000)}
    save_file({prefix + names[key]: value for key, value in state.items()} | classifier, tmp_path / "w.safetensors")
    strides = [min(stride, output_stride) for stride in (1, 2, 4, 8, 16, 32)]
    net = WiderResNet38(strides=strides, output_stride=output_stride, pretrained=tmp_path / "w.safetensors").eval()
    image = torch.randn(1, 3, 64, 96)
    expected = published_forward(state, image, output_stride == 8)
    for ours, theirs, stride in zip(net(image), expected, strides, strict=True):
        assert ours.shape[-2:] == (64 // stride, 96 // stride)
        torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)


def test_dilated_group_has_one_dilation_in_all_of_its_units():
    with torch.device("meta"):
        for output_stride, expected in ((8, [1, 1, 1, 2, 4, 4]), (16, [1, 1, 1, 1, 2, 2]), (32, [1] * 6)):
            net = WiderResNet38(output_stride=output_stride)
            found = [
                {m.dilation[0] for m in group.modules() if isinstance(m, nn.Conv2d) and m.kernel_size == (3, 3)}
                for group in net.groups
            ]
            assert found == [{dilation} for dilation in expected]


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


def test_dropout_is_before_the_last_convolution_of_the_two_widest_groups(narrow):
    for group, rate in zip(WiderResNet38().groups, (None, None, None, None, 0.3, 0.5), strict=True):
        assert [m.p for m in group.modules() if isinstance(m, nn.Dropout)] == ([rate] if rate else [])
        if rate:
            assert group[0].convolve[-2].p == rate


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
