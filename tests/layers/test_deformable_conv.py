"""Deformable convolution: slow loops, the plain convolution where offsets are zero, types, and its cost."""

import math

import pytest
import torch
import torch.nn.functional as F
from timm.layers import Conv2dSame
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from gatezoo.layers.deformable_conv import DeformableConv2d

PLAIN = {
    "stride 1": dict(padding=1),
    "stride 2": dict(stride=2, padding=1),
    "dilation 2": dict(padding=2, dilation=2),
    "depthwise": dict(padding=1, groups=8),
    "grouped, strided, without padding": dict(stride=2, groups=2, bias=False),
}


def pair(offset_groups=1, **window):
    """(plain convolution, deformable one of the same weights), 8 to 8 channels, in double precision."""
    plain = nn.Conv2d(8, 8, 3, **window).double()
    deformable = DeformableConv2d(8, 8, 3, **window, offset_groups=offset_groups).double()
    deformable.load_state_dict(plain.state_dict(), strict=False)
    return plain, deformable


def randomize_offsets(layer, std=0.3):
    nn.init.normal_(layer.offset.weight, std=std)
    nn.init.normal_(layer.offset.bias, std=1.0)


def read(x, row, column):
    """Return the value of a map (H, W) between its pixels; outside are zeros."""
    value = 0.0
    for i in (math.floor(row), math.floor(row) + 1):
        for j in (math.floor(column), math.floor(column) + 1):
            if 0 <= i < x.shape[0] and 0 <= j < x.shape[1]:
                value += (1 - abs(row - i)) * (1 - abs(column - j)) * x[i, j].item()
    return value


def literal(layer, x, offset_groups):
    """Return the sum over channels and taps at every place of one image, by loops."""
    offsets = F.conv2d(x, layer.offset.weight, layer.offset.bias, layer.stride, layer.padding, layer.dilation)[0]
    inner, outer = layer.in_channels // layer.groups, layer.out_channels // layer.groups
    y = torch.zeros(layer.out_channels, *offsets.shape[1:], dtype=x.dtype)
    for out in range(layer.out_channels):
        for i in range(y.shape[1]):
            for j in range(y.shape[2]):
                total = 0.0 if layer.bias is None else layer.bias[out].item()
                for channel in range(inner):
                    source = out // outer * inner + channel
                    group = source * offset_groups // layer.in_channels
                    for tap in range(9):
                        dy, dx = offsets[2 * (9 * group + tap) : 2 * (9 * group + tap) + 2, i, j].tolist()
                        row = i * layer.stride[0] - layer.padding[0] + tap // 3 * layer.dilation[0] + dy
                        column = j * layer.stride[1] - layer.padding[1] + tap % 3 * layer.dilation[1] + dx
                        total += layer.weight[out, channel, tap // 3, tap % 3].item() * read(x[0, source], row, column)
                y[out, i, j] = total
    return y[None]


@torch.no_grad()
@pytest.mark.parametrize("window", PLAIN.values(), ids=PLAIN)
@pytest.mark.parametrize("offset_groups", [1, 4])
def test_zero_offsets_give_the_plain_convolution(window, offset_groups):
    plain, deformable = pair(offset_groups, **window)
    x = torch.randn(2, 8, 11, 14, dtype=torch.float64)
    torch.testing.assert_close(deformable(x), plain(x), atol=1e-14, rtol=0)


@torch.no_grad()
@pytest.mark.parametrize("window", PLAIN.values(), ids=PLAIN)
@pytest.mark.parametrize("offset_groups", [1, 2])
def test_equals_loops(window, offset_groups):
    torch.manual_seed(0)
    _, layer = pair(offset_groups, **window)
    randomize_offsets(layer)
    x = torch.randn(1, 8, 6, 7, dtype=torch.float64)
    torch.testing.assert_close(layer(x), literal(layer, x, offset_groups), atol=1e-10, rtol=0)


@torch.no_grad()
@pytest.mark.parametrize("size", [(12, 16), (13, 15), (2, 3)])
@pytest.mark.parametrize("window", [dict(stride=2), dict(stride=2, groups=8), dict(stride=3), dict(dilation=2)])
def test_same_padding_is_timms(size, window):
    plain = Conv2dSame(8, 8, 3, **window).double()
    layer = DeformableConv2d(8, 8, 3, padding="same", **window).double()
    layer.load_state_dict(plain.state_dict(), strict=False)
    x = torch.randn(2, 8, *size, dtype=torch.float64)
    torch.testing.assert_close(layer(x), plain(x), atol=1e-14, rtol=0)
    # Offsets are of the padded map: the places that the taps have there.
    assert layer.offset.bias.shape == (18,)
    randomize_offsets(layer)
    steps = layer.stride[0], layer.dilation[0]
    edges = [max((-(-side // steps[0]) - 1) * steps[0] + 2 * steps[1] + 1 - side, 0) for side in size]
    padded = F.pad(x, (edges[1] // 2, edges[1] - edges[1] // 2, edges[0] // 2, edges[0] - edges[0] // 2))
    other = DeformableConv2d(8, 8, 3, padding=0, **window).double()
    other.load_state_dict(layer.state_dict())
    torch.testing.assert_close(layer(x), other(padded))


@torch.no_grad()
def test_constant_offset_reads_the_shifted_map():
    """Offsets are (y, x): one row down for all taps is the plain convolution of the next row."""
    plain, deformable = pair(padding=1)
    deformable.offset.bias[0::2] = 1.0
    x = torch.randn(1, 8, 9, 10, dtype=torch.float64)
    torch.testing.assert_close(deformable(x)[:, :, 1:-2, 1:-1], plain(x)[:, :, 2:-1, 1:-1], atol=1e-14, rtol=0)


@torch.no_grad()
def test_equal_offsets_of_groups_are_those_of_one():
    _, one = pair(padding=1)
    randomize_offsets(one)
    _, four = pair(4, padding=1)
    four.load_state_dict(
        {k: v.repeat(4, *[1] * (v.ndim - 1)) if "offset" in k else v for k, v in one.state_dict().items()}
    )
    x = torch.randn(2, 8, 7, 9, dtype=torch.float64)
    torch.testing.assert_close(four(x), one(x), atol=1e-14, rtol=0)


def test_gradients():
    torch.manual_seed(0)
    _, layer = pair(2, padding=1, stride=2)
    randomize_offsets(layer, 0.1)
    x = torch.randn(1, 8, 5, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(layer, (x,), atol=1e-6)


def test_zero_offsets_get_a_gradient():
    _, layer = pair(padding=1)
    layer(torch.randn(1, 8, 6, 6, dtype=torch.float64)).square().sum().backward()
    assert layer.offset.weight.grad.abs().sum() > 0
    assert layer.offset.bias.grad.abs().sum() > 0


@torch.no_grad()
def test_offsets_are_computed_in_single_precision():
    """Under autocast too: in 16 bits an offset of 100.3 is one of 100.5."""
    layer = DeformableConv2d(4, 4, 3, padding=1)
    nn.init.constant_(layer.offset.bias, 100.3)
    x = torch.rand(1, 4, 128, 128)
    whole = layer(x)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(layer(x), whole)
        half = layer(x.bfloat16())
    assert half.dtype == torch.bfloat16
    assert torch.equal(half, layer(x.bfloat16().float()).bfloat16())
    assert layer.bfloat16()(x.bfloat16()).dtype == torch.bfloat16


def test_meta_device_and_multiplications():
    """As many as the plain convolution's, beside those of the convolution that computes the offsets."""
    with torch.device("meta"):
        layer, x = DeformableConv2d(8, 6, 3, stride=2, padding=1, groups=2, offset_groups=2), torch.empty(3, 8, 17, 20)
    with FlopCounterMode(display=False) as counter:
        assert layer(x).shape == (3, 6, 9, 10)
    places = 3 * 9 * 10
    assert counter.get_total_flops() == 2 * places * 9 * (6 * 4 + 36 * 8)
    plain, offsets = nn.Conv2d(8, 6, 3, 2, 1, groups=2, device="meta"), layer.offset
    with FlopCounterMode(display=False) as twin:
        plain(x), offsets(x)
    assert counter.get_total_flops() == twin.get_total_flops()
