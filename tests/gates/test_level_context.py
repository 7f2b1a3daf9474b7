"""Test the contexts that ZigZagNet's Table 2 compares with its encoding against loops, and the networks with them."""

import pytest
import torch
import torch.nn.functional as F

import gatezoo
from gatezoo.gates.full_connection import FullConnection, GlobalContext
from gatezoo.gates.large_kernel import LargeKernel
from gatezoo.heads.deeplab import AtrousPooling
from gatezoo.heads.level_context import LEVEL_CONTEXTS, make_level_context
from gatezoo.heads.pyramid_pooling import PyramidPooling
from gatezoo.model_info import count_parameters, on_meta

CONTEXTS = [name for name in LEVEL_CONTEXTS if name != "none"]
SIZES = [(7, 7), (11, 16), (3, 5), (1, 1)]


def region_means(x, side):
    """Return the mean of each region of a map, pixel by pixel, 0 of an empty one, and the region of each pixel."""
    height, width = x.shape[-2:]
    region = {(h, w): (h * side // height, w * side // width) for h in range(height) for w in range(width)}
    means = torch.zeros(*x.shape[:2], side, side, dtype=x.dtype)
    for y, column in {*region.values()}:
        inside = [x[:, :, h, w] for (h, w), found in region.items() if found == (y, column)]
        means[:, :, y, column] = sum(inside) / len(inside)
    return means, region


@pytest.mark.parametrize("size", SIZES)
@torch.no_grad()
def test_global_context_equals_its_formula(size):
    net, x = GlobalContext(4).double(), torch.randn(2, 4, *size, dtype=torch.float64)
    first, second = net.connect[1], net.connect[3]
    means, _ = region_means(x, 7)
    vector = (means.flatten(1) @ first.weight.T + first.bias).clamp(min=0) @ second.weight.T + second.bias
    torch.testing.assert_close(net(x), x + vector[:, :, None, None])


@pytest.mark.parametrize("size", SIZES)
@torch.no_grad()
def test_full_connection_equals_its_formula(size):
    net, x = FullConnection(4, side=3).double(), torch.randn(2, 4, *size, dtype=torch.float64)
    means, region = region_means(F.conv2d(x, net.squeeze[0].weight, net.squeeze[0].bias, padding=1).clamp(min=0), 3)
    layer, expected = net.connect[1], x.clone()
    weight, bias = layer.weight.reshape(4, 3, 3, 2, 3, 3), layer.bias.reshape(4, 3, 3)
    for (h, w), (y, column) in region.items():
        for c in range(4):
            expected[:, c, h, w] += (weight[c, y, column] * means).sum((1, 2, 3)) + bias[c, y, column]
    torch.testing.assert_close(net(x), expected)


@torch.no_grad()
def test_full_connection_has_own_weights_for_each_region():
    net, x = FullConnection(4), torch.zeros(1, 4, 10, 15)
    added = net(x)[0, :, ::2, ::3]
    assert len(added.flatten(1).T.unique(dim=0)) == 25
    assert len((GlobalContext(4)(x))[0].flatten(1).T.unique(dim=0)) == 1


@pytest.mark.parametrize("size", [(7, 7), (5, 8), (1, 1)])
@torch.no_grad()
def test_large_kernel_equals_its_formula(size):
    net, x = LargeKernel(2, kernel_size=5).double(), torch.randn(2, 2, *size, dtype=torch.float64)

    def convolved(values, conv):
        """Convolve along a line, tap by tap."""
        out = conv.bias[:, None, None].expand(len(values), -1, *size).clone()
        for h in range(size[0]):
            for w in range(size[1]):
                for tap in range(5):
                    row, column = (h + tap - 2, w) if conv.kernel_size[0] == 5 else (h, w + tap - 2)
                    if 0 <= row < size[0] and 0 <= column < size[1]:
                        out[:, :, h, w] += values[:, :, row, column] @ conv.weight.flatten(2)[:, :, tap].T
        return out

    assert [conv.kernel_size for conv in (*net.tall_first, *net.wide_first)] == [(5, 1), (1, 5), (1, 5), (5, 1)]
    expected = x + sum(convolved(convolved(x, first), second) for first, second in (net.tall_first, net.wide_first))
    torch.testing.assert_close(net(x), expected)


def normalized(x, block):
    """Apply a block's 1x1 convolution, batch norm in evaluation mode and ReLU to (B, C, ...)."""
    conv, norm = block[0], block[1]
    x = torch.einsum("oc,bchw->bohw", conv.weight[:, :, 0, 0], x)
    scale = norm.weight / (norm.running_var + norm.eps).sqrt()
    return ((x - norm.running_mean[:, None, None]) * scale[:, None, None] + norm.bias[:, None, None]).clamp(min=0)


@torch.no_grad()
def test_pyramid_pooling_equals_its_formula():
    net, x = make_level_context("pyramid_pooling", 8, 4).eval().double(), torch.randn(2, 8, 12, 18).double()
    assert isinstance(net, PyramidPooling)
    parts = [x]
    for side, branch in zip((1, 2, 3, 6), net.branches, strict=True):
        grid = normalized(region_means(x, side)[0], branch)
        parts.append(F.interpolate(grid, (12, 18), mode="bilinear"))
    expected = net.merge[2](net.merge[1](F.conv2d(torch.cat(parts, 1), net.merge[0].weight, padding=1)))
    torch.testing.assert_close(net(x), expected)


@pytest.mark.parametrize(("stride", "rates"), [(4, (24, 48, 72)), (16, (6, 12, 18)), (32, (3, 6, 9))])
@torch.no_grad()
def test_atrous_pooling_equals_its_formula(stride, rates):
    """Each branch reads nine pixels ``rate`` apart."""
    net, x = make_level_context("atrous_pooling", 4, stride).eval().double(), torch.randn(1, 4, 11, 8).double()
    assert isinstance(net, AtrousPooling)
    parts = [normalized(x, net.branches[0])]
    for rate, block in zip(rates, net.branches[1:], strict=True):
        out = torch.zeros_like(x)
        for h in range(11):
            for w in range(8):
                for i in range(3):
                    for j in range(3):
                        row, column = h + (i - 1) * rate, w + (j - 1) * rate
                        if 0 <= row < 11 and 0 <= column < 8:
                            out[:, :, h, w] += x[:, :, row, column] @ block[0].weight[:, :, i, j].T
        parts.append(block[2](block[1](out)))
    parts.append(normalized(x.mean((2, 3), keepdim=True), net.whole).expand(-1, -1, 11, 8))
    torch.testing.assert_close(net(x), normalized(torch.cat(parts, 1), net.merge))


@pytest.mark.parametrize(
    ("context", "parameters"),
    [
        ("none", lambda c: 0),
        ("global", lambda c: 50 * c**2 + 2 * c),
        ("full_connection", lambda c: 25**2 * c**2 // 2 + 25 * c + 9 * c**2 // 2 + c // 2),
        ("large_kernel", lambda c: 60 * c**2 + 4 * c),
        ("pyramid_pooling", lambda c: c**2 + 2 * c + 9 * 2 * c**2 + 2 * c),
        ("atrous_pooling", lambda c: (2 + 3 * 9 + 5) * c**2 + 6 * 2 * c),
    ],
)
def test_context_parameter_counts(context, parameters):
    for channels in (16, 128):
        assert count_parameters(make_level_context(context, channels, 8)) == parameters(channels)


@pytest.mark.parametrize("context", ["none", *CONTEXTS])
def test_context_row_has_its_encoding_in_each_place(context):
    """Fifteen encodings take the place of as many; all other parts, and their keys, are those of ``zigzag_r101``."""
    name = "zigzag_r101_" + context if context != "none" else "zigzag_r101"
    plain, other = on_meta("zigzag_r101", regions=()), on_meta(name, context=context)
    added = other.state_dict().keys() - plain.state_dict().keys()
    assert plain.state_dict().keys() <= other.state_dict().keys()
    assert all(key.startswith(("head.fuse.encode_down.", "head.fuse.encode_up.")) for key in added)
    encodings = [e for group in (*other.head.fuse.encode_down, *other.head.fuse.encode_up) for e in group]
    assert len(encodings) == 15
    assert count_parameters(other) - count_parameters(plain) == sum(count_parameters(e) for e in encodings)
    assert len({type(e) for e in encodings}) == 1


def test_atrous_rates_follow_the_level():
    fuse = on_meta("zigzag_r101_atrous_pooling").head.fuse
    assert [e.branches[1][0].dilation[0] for e in fuse.encode_down[1]] == [3, 6, 12]
    assert [e.branches[1][0].dilation[0] for e in fuse.encode_up[1]] == [24, 12, 6]


def test_region_context_keeps_the_keys_of_published_weights():
    keys = gatezoo.create_model("test_zigzag").state_dict().keys()
    for part, levels in (("down", 3), ("up", 3)):
        for level in range(levels):
            for kind in ("branches.0.weight", "gather.1.bias", "spread.1.weight"):
                assert f"head.fuse.encode_{part}.0.{level}.{kind}" in keys


@pytest.mark.parametrize("context", ["none", *CONTEXTS])
def test_network_with_another_context_trains_at_odd_sizes(context):
    model = gatezoo.create_model("test_zigzag", context=context, num_classes=5).train()
    for size in ((65, 97), (101, 83)):
        logits = model(torch.randn(2, 3, *size))
        assert logits.shape == (2, 5, *size)
        assert torch.isfinite(logits).all()
    logits.square().sum().backward()
    new = [(key, p) for key, p in model.named_parameters() if not key.startswith("backbone.")]
    assert [key for key, p in new if p.grad is None or not p.grad.abs().sum()] == []


@pytest.mark.export
@pytest.mark.parametrize("context", CONTEXTS)
@torch.no_grad()
def test_network_with_another_context_is_exported(context):
    torch.manual_seed(0)
    model = gatezoo.create_model("test_zigzag", backbone="mobilenetv2_035", context=context, num_classes=5).eval()
    sizes = {2: torch.export.Dim("height", min=64, max=4096), 3: torch.export.Dim("width", min=64, max=4096)}
    program = torch.export.export(
        model, (torch.randn(1, 3, 72, 88),), dynamic_shapes=(sizes,), prefer_deferred_runtime_asserts_over_guards=True
    )
    for size in ((64, 96), (101, 83)):
        image = torch.randn(1, 3, *size)
        torch.testing.assert_close(program.module()(image), model(image), atol=1e-5, rtol=1e-5)


def test_unknown_context_is_refused():
    with pytest.raises(ValueError, match=r"context must be one of region, none, global, .*; got 'globl'. Did you mean"):
        gatezoo.create_model("test_zigzag", context="globl")
    with pytest.raises(ValueError, match="context must be one of none, global, full_connection"):
        make_level_context("region", 8, 4)


def test_other_contexts_accept_images_that_the_regions_refuse():
    assert gatezoo.create_model("test_zigzag", empty_regions=False).min_size > 32
    assert gatezoo.create_model("test_zigzag", context="global", empty_regions=False).min_size == 32
