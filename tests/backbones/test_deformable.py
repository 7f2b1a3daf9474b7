"""Deformable backbones: which convolutions are replaced, that maps stay as they were, and refusals."""

import pytest
import torch
from torch import nn

from gatezoo.backbones.deformable import make_deformable
from gatezoo.backbones.layer_groups import layers_of
from gatezoo.backbones.spec import BackboneSpec
from gatezoo.layers.deformable_conv import DeformableConv2d
from gatezoo.model_info import count_parameters

STRIDES = (4, 8, 16, 32)
PLACES = [
    ("resnet50", "pyramid", ["layer2.3", "layer3.5", "layer4.0", "layer4.1", "layer4.2"]),
    ("resnet101", "pyramid", ["layer2.3", "layer3.22", "layer4.0", "layer4.1", "layer4.2"]),
    ("resnet50", "res5", ["layer4.0", "layer4.1", "layer4.2"]),
]


def pyramid(name):
    return BackboneSpec(name).pyramid(STRIDES)


def on_meta(name, deform=None):
    with torch.device("meta"):
        backbone = pyramid(name)
        if deform:
            make_deformable(backbone, deform)
    return backbone


def deformed(backbone):
    """The names of deformable convolutions, as timm has them."""
    return [
        name.removeprefix("net.") for name, module in backbone.named_modules() if isinstance(module, DeformableConv2d)
    ]


@pytest.mark.parametrize(("name", "deform", "blocks"), PLACES)
def test_middle_convolutions_of_bottlenecks_are_deformed(name, deform, blocks):
    backbone = on_meta(name, deform)
    assert deformed(backbone) == [f"{block}.conv2" for block in blocks]
    assert {backbone.get_submodule(f"net.{block}.conv2").offset.out_channels for block in blocks} == {72}
    assert backbone.net.layer4[0].conv2.stride == (2, 2)


@pytest.mark.parametrize(
    ("name", "deform", "count", "parameters"),
    [
        ("resnet50", "pyramid", 5, 1_244_520),
        ("resnet101", "pyramid", 5, 1_244_520),
        ("resnet152", "pyramid", 5, 1_244_520),
        ("resnet101", "res5", 3, 995_544),
        ("resnet50", "c3-c5", 13, 580_842),
        ("resnet101", "c3-c5", 30, 1_286_172),
        ("resnet152", "c3-c5", 47, 1_908_558),
    ],
)
def test_parameters_of_offsets(name, deform, count, parameters):
    backbone = on_meta(name, deform)
    assert len(deformed(backbone)) == count
    assert count_parameters(backbone) - count_parameters(on_meta(name)) == parameters


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        # Basic blocks have two, but for a bottleneck at stride 16.
        ("test_resnet", ["layer2.0.conv1", "layer2.0.conv2", "layer3.0.conv2", "layer4.0.conv1", "layer4.0.conv2"]),
        (
            "mobilenetv2_100",
            [
                f"blocks.{block}.conv_dw"
                for block in (
                    "2.2",
                    "4.2",
                    "5.0",
                    "5.1",
                    "5.2",
                    "6.0",
                )  # two stages of timm's each at strides 16 and 32
            ],
        ),
        # Its kernels are 5x5 at stride 8, and in part of the others.
        ("tf_efficientnet_lite0", ["blocks.3.2.conv_dw", "blocks.6.0.conv_dw"]),
        ("regnetx_002", ["s2.b1.conv2.conv", "s3.b4.conv2.conv", *(f"s4.b{k}.conv2.conv" for k in range(1, 8))]),
        ("resnext50_32x4d", [f"{block}.conv2" for block in PLACES[0][2]]),
        # Its map of stride 32 is a pool of the last.
        ("vgg11", ["features_13", "features_18"]),
    ],
)
def test_other_backbones(name, expected):
    assert deformed(on_meta(name, "pyramid")) == expected


@torch.no_grad()
@pytest.mark.parametrize("deform", ["pyramid", "c3-c5"])
@pytest.mark.parametrize("name", ["test_resnet", "mobilenetv2_035", "tf_efficientnet_lite0", "regnetx_002"])
def test_maps_stay_and_weights_of_the_plain_backbone_load(name, deform):
    """Of "same" padding too, which the lite0 has where it strides."""
    torch.manual_seed(0)
    backbone = pyramid(name).double().eval()
    for module in backbone.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(std=0.1)
    image = torch.randn(2, 3, 97, 130, dtype=torch.float64)
    before, state = backbone(image), {key: value.clone() for key, value in backbone.state_dict().items()}
    make_deformable(backbone, deform)
    assert deformed(backbone)
    for old, new in zip(before, backbone(image), strict=True):
        torch.testing.assert_close(new, old, atol=1e-10, rtol=1e-10)
    other = pyramid(name).double().eval()
    make_deformable(other, deform)
    missing, unexpected = other.load_state_dict(state, strict=False)
    assert not unexpected
    assert set(missing) == {f"net.{conv}.offset.{kind}" for conv in deformed(other) for kind in ("weight", "bias")}
    for old, new in zip(before, other(image), strict=True):
        torch.testing.assert_close(new, old, atol=1e-10, rtol=1e-10)


def test_offsets_are_of_the_layer_of_their_convolution():
    """For learning rates by layer and layers that stay frozen."""
    layers = layers_of(on_meta("resnet50", "c3-c5"))
    offsets = [name for name in layers if ".offset." in name]
    assert len(offsets) == 26
    for name in offsets:
        assert layers[name] == layers[name.partition(".offset.")[0] + ".weight"]


def test_mode_and_type_are_kept():
    backbone = pyramid("test_resnet").double().eval()
    make_deformable(backbone, "res5")
    assert not any(module.training for module in backbone.modules())
    assert {parameter.dtype for parameter in backbone.parameters()} == {torch.float64}


@pytest.mark.parametrize(
    "name", ["convnext_atto", "swin_tiny_patch4_window7_224", "resnetv2_50x1_bit", "wider_resnet38"]
)
def test_backbones_without_plain_3x3_convolutions_are_refused(name):
    """Those of the BiT networks normalize their weights."""
    with pytest.raises(ValueError, match=rf"backbone must have plain 3x3 convolutions .*; got '{name}'") as caught:
        on_meta(name, "pyramid")
    assert "\n" not in str(caught.value)


def test_other_refusals():
    with pytest.raises(ValueError, match="deform must be one of pyramid, res5, c3-c5; got 'c5'"):
        on_meta("resnet50", "c5")
    backbone = on_meta("resnet50")
    odd = nn.Conv2d(126, 126, 3, padding=1, bias=False, device="meta")
    backbone.set_submodule("net.layer2.3.conv2", odd)
    text = "channels of layer2.3.conv2 in backbone 'resnet50' must be a multiple of 4, .*; got 126: pass deform=\"c3-c5"
    with pytest.raises(ValueError, match=text) as caught:
        make_deformable(backbone, "pyramid")
    assert "\n" not in str(caught.value)
    make_deformable(backbone, "c3-c5")
