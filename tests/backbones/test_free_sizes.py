"""Modules that are changed for exporters equal those that timm has, at every size."""

import copy

import pytest
import timm
import torch
from timm.layers import AvgPool2dSame, Conv2dSame

from gatezoo.backbones.free_sizes import CeilAvgPool2d, SamePaddedAvgPool2d, SamePaddedConv2d, free_sizes
from gatezoo.backbones.pyramid import Pyramid


@pytest.mark.parametrize(("kernel", "stride", "dilation"), [(3, 2, 1), (5, 2, 1), (3, 1, 2), (4, 3, 1), (2, 2, 1)])
def test_same_padded_convolution_is_that_of_timm(kernel, stride, dilation):
    ours = torch.nn.Sequential(Conv2dSame(2, 3, kernel, stride, dilation=dilation))
    theirs = copy.deepcopy(ours)
    free_sizes(ours)
    assert isinstance(ours[0], SamePaddedConv2d)
    for height in range(8, 15):
        x = torch.randn(1, 2, height, 21 - height)
        assert torch.equal(ours(x), theirs(x))


@pytest.mark.parametrize(("kernel", "stride"), [(2, 1), (3, 1), (3, 2), (2, 2)])
def test_same_padded_pool_is_that_of_timm_and_is_exported(kernel, stride):
    ours, theirs = torch.nn.Sequential(AvgPool2dSame(kernel, stride)), AvgPool2dSame(kernel, stride)
    free_sizes(ours)
    assert isinstance(ours[0], SamePaddedAvgPool2d)
    sizes = {2: torch.export.Dim("height", min=5, max=64), 3: torch.export.Dim("width", min=5, max=64)}
    exported = torch.export.export(ours, (torch.randn(1, 2, 9, 12),), dynamic_shapes=(sizes,)).module()
    for height in range(8, 15):
        x = torch.randn(1, 2, height, 21 - height)
        assert torch.equal(ours(x), theirs(x))
        assert torch.equal(exported(x), theirs(x))


def test_windows_that_skip_positions_stay_as_they_were():
    conv = torch.nn.Sequential(Conv2dSame(2, 3, 1, 2))
    free_sizes(conv)
    assert type(conv[0]) is Conv2dSame


def test_a_network_keeps_its_parameters():
    reference = timm.create_model("tf_efficientnet_lite0", features_only=True).eval()
    pyramid = Pyramid("tf_efficientnet_lite0").eval()
    pyramid.net.load_state_dict(reference.state_dict())
    assert any(isinstance(module, SamePaddedConv2d) for module in pyramid.modules())
    image = torch.randn(1, 3, 65, 98)
    assert torch.equal(pyramid(image)[0], reference(image)[-1])


def test_exported_pool_is_that_of_torch():
    pool = torch.nn.Sequential(torch.nn.AvgPool2d(2, 2, ceil_mode=True, count_include_pad=False))
    reference = copy.deepcopy(pool)
    free_sizes(pool)
    assert isinstance(pool[0], CeilAvgPool2d)
    sizes = {2: torch.export.Dim("height", min=5, max=64), 3: torch.export.Dim("width", min=5, max=64)}
    exported = torch.export.export(pool, (torch.randn(1, 2, 7, 8),), dynamic_shapes=(sizes,)).module()
    for size in [(8, 8), (9, 12), (6, 5), (7, 7)]:
        x = torch.randn(1, 2, *size)
        assert torch.equal(exported(x), reference(x))
        assert torch.equal(pool(x), reference(x))
