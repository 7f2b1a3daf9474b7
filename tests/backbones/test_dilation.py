"""Strides turned into dilation, compared with the strided networks."""

import pytest
import timm
import torch
from torch import nn

from gatezoo.backbones.dilation import dilate, input_strides, is_dilatable
from gatezoo.backbones.pyramid import Pyramid
from gatezoo.backbones.stages import Stages


def with_statistics(net):
    """Batch norms that do something: weights of random networks fade otherwise."""
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean, std=0.1)
            nn.init.uniform_(module.running_var, 0.5, 2)
    return net.eval()


@torch.no_grad()
@pytest.mark.parametrize("output_stride", [8, 16])
@pytest.mark.parametrize("name", ["densenet121", "vgg11_bn", "dla34", "starnet_s1"])
def test_dilated_network_equals_the_strided_one_at_its_positions(name, output_stride):
    with pytest.raises((TypeError, AssertionError)):  # timm does not do it
        timm.create_model(name, features_only=True, output_stride=output_stride)
    dilated = with_statistics(
        Pyramid(name, (4, 8, 16, 32)[: 2 if output_stride == 8 else 3], output_stride=output_stride)
    )
    strided = timm.create_model(name, features_only=True).eval()
    strided.load_state_dict(dilated.net.state_dict())
    image = torch.randn(1, 3, 128, 192)
    for stride, ours, theirs in zip(strided.feature_info.reduction(), dilated.net(image), strided(image), strict=True):
        step = max(1, stride // output_stride)
        assert ours.shape[-2:] == tuple(side // min(stride, output_stride) for side in image.shape[-2:])
        torch.testing.assert_close(ours[..., ::step, ::step], theirs, atol=1e-4, rtol=1e-4)
        assert theirs.std() > 1e-3


class Pools(nn.Module):
    """Two pools that overlap or not, and a convolution behind each."""

    def __init__(self, pool):
        super().__init__()
        self.steps = nn.Sequential(
            pool(), nn.Conv2d(2, 3, 3, padding=1), pool(), nn.Conv2d(3, 2, 3, padding=1), nn.ReLU()
        )

    def forward(self, x):
        return self.steps(x)


@torch.no_grad()
@pytest.mark.parametrize(
    "pool",
    [
        lambda: nn.MaxPool2d(2),
        lambda: nn.MaxPool2d(3, 2, 1),
        lambda: nn.AvgPool2d(2),
        lambda: nn.AvgPool2d((2, 2), (2, 2)),
    ],
)
@pytest.mark.parametrize("output_stride", [1, 2])
def test_pools_are_dilated(pool, output_stride):
    net = Pools(pool)
    image = torch.randn(2, 2, 16, 24)
    expected = net(image)
    dilate(net, input_strides(net, image), output_stride)
    step = 4 // output_stride
    assert net(image).shape == (2, 2, 16 // output_stride, 24 // output_stride)
    torch.testing.assert_close(net(image)[..., ::step, ::step], expected)
    assert net(torch.randn(1, 2, 13, 9)).isfinite().all()


def test_nothing_changes_at_the_native_stride():
    net = timm.create_model("vgg11_bn", features_only=True)
    before = str(net)
    dilate(net, input_strides(net, torch.zeros(1, 3, 64, 64)), 32)
    assert str(net) == before


@torch.no_grad()
def test_dilated_blocks_can_be_run_again():
    stages = Stages("densenet121", output_stride=8).eval()
    assert stages.strides == [1, 4, 4, 8, 8, 8]
    maps = stages(torch.randn(1, 3, 64, 96))
    assert [tuple(f.shape[-2:]) for f in maps[-3:]] == [(8, 12)] * 3


@pytest.mark.parametrize(
    "module",
    [
        nn.AdaptiveAvgPool2d(1),
        nn.Sigmoid(),
        nn.AvgPool2d(3, 2, 1),
        nn.MaxPool2d(2, ceil_mode=True),
        nn.Conv2d(1, 1, 2, 2),
        nn.Conv2d(1, 1, 3, (1, 2), padding=1),
        nn.Conv2d(1, 1, 3, padding="same"),
        nn.Conv2d(1, 1, 3, padding=1, padding_mode="reflect"),
        nn.LayerNorm(4),
    ],
    ids=lambda module: type(module).__name__,
)
def test_unsupported_modules_are_not_dilated(module):
    plain = nn.Sequential(nn.Conv2d(1, 1, 3, padding=1), nn.ReLU())
    assert is_dilatable(plain)
    assert not is_dilatable(plain.append(module))
