"""Backbones of timm: geometry, blocks, refusals and weights."""

import functools
import time

import pytest
import timm
import torch
from safetensors.torch import save
from timm.models import FeatureListNet
from torch import nn

from gatezoo.backbones import base as backbone
from gatezoo.backbones.base import adapt_input_conv
from gatezoo.backbones.pyramid import Pyramid
from gatezoo.backbones.stages import Stages

FAMILIES = [
    "test_resnet",
    "resnet18",
    "resnetv2_18",
    "regnety_002",
    "mobilenetv2_035",
    "mobilenetv3_small_050",
    "mobilenetv4_conv_small_035",
    "tf_efficientnetv2_b0",
    "convnext_atto",
    "densenet121",
    "vgg11_bn",
    "swin_tiny_patch4_window7_224",
    "pvt_v2_b0",
    "repvgg_a0",
    "nf_regnet_b0",
    "dm_nfnet_f0",
    "mambaout_femto",
    "edgenext_xx_small",
    "hgnetv2_b0",
]


@pytest.fixture(scope="module", params=FAMILIES)
def staged(request):
    torch.manual_seed(0)
    return Stages(request.param).eval()


@torch.no_grad()
def test_stages_in_order_equal_the_timm_network(staged):
    image = torch.randn(1, 3, 64, 96)
    args = {"strict_img_size": False} if staged.name.startswith("swin") else {}
    reference = timm.create_model(staged.name, features_only=True, **args).eval()
    reference.load_state_dict(staged.net.state_dict())
    expected = [staged._to_nchw(m) for m in reference(image)]
    maps = staged(image)
    assert len(maps) == len(expected) == len(staged)
    # f_1 includes the pool that timm puts at the start of its second stage, so its end is compared there.
    for ours, theirs in zip(maps[1:], expected[1:], strict=True):
        assert torch.equal(ours, theirs)
    assert torch.equal(maps[0], expected[0]) or staged.strides[1] > staged.net.feature_info.reduction()[0]


@torch.no_grad()
def test_stages_match_their_declared_shapes_and_keep_their_inputs(staged):
    image = torch.randn(1, 3, 256, 384)
    maps, copies = [image], [image.clone()]
    for block in range(1, len(staged) + 1):
        maps.append(staged.run(block, maps[-1]))
        copies.append(maps[-1].clone())
    for block, f in enumerate(maps):
        assert f.shape == (1, staged.channels[block], 256 // staged.strides[block], 384 // staged.strides[block])
    assert all(torch.equal(f, copy) for f, copy in zip(maps, copies, strict=True)), "a block overwrote its input"


@torch.no_grad()
@pytest.mark.parametrize("name", ["resnet18", "mobilenetv2_035", "convnext_atto", "mambaout_femto", "vgg11_bn"])
def test_block_runs_alone_on_any_input_of_its_width(name):
    stages = Stages(name).eval()
    for block in range(1, len(stages) + 1):
        out = stages.run(block, torch.rand(2, stages.channels[block - 1], 45, 37))
        assert out.shape[:2] == (2, stages.channels[block])


@torch.no_grad()
@pytest.mark.parametrize("name", ["resnet18", "swin_tiny_patch4_window7_224", "hrnet_w18_small", "pvt_v2_b0"])
def test_pyramid_has_the_requested_strides(name):
    pyramid = Pyramid(name, (4, 8, 16, 32)).eval()
    maps = pyramid(torch.randn(1, 3, 64, 96))
    for f, channels, stride in zip(maps, pyramid.channels, (4, 8, 16, 32), strict=True):
        assert f.shape == (1, channels, 64 // stride, 96 // stride)


@torch.no_grad()
@pytest.mark.parametrize(
    "name", ["resnet18", "mobilenetv2_035", "regnety_002", "convnext_atto", "mobilenetv3_small_050"]
)
@pytest.mark.parametrize("output_stride", [8, 16, 32])
def test_output_stride(name, output_stride):
    for net in (Pyramid(name, output_stride=output_stride).eval(), Stages(name, output_stride=output_stride).eval()):
        assert net(torch.randn(1, 3, 64, 96))[-1].shape[-2:] == (64 // output_stride, 96 // output_stride)
        assert net.strides[-1] == output_stride


@torch.no_grad()
def test_repeated_stride_is_an_earlier_stage_of_it():
    pyramid = Pyramid("resnet18", (4, 8, 8), output_stride=8).eval()
    image = torch.randn(1, 3, 64, 64)
    maps = pyramid.net(image)
    for ours, theirs in zip(pyramid(image), (maps[1], maps[3], maps[4]), strict=True):
        assert torch.equal(ours, theirs)
    assert pyramid.channels == [64, 256, 512]
    assert pyramid.strides == [4, 8, 8]


@torch.no_grad()
@pytest.mark.parametrize("in_chans", [1, 4])
def test_in_chans(in_chans):
    stages = Stages("test_resnet", in_chans=in_chans).eval()
    assert stages.channels[0] == in_chans
    assert stages(torch.randn(1, in_chans, 64, 64))[-1].shape[-1] == 2


@pytest.mark.parametrize(
    ("name", "divisor"),
    [("resnet18", 1), ("swin_tiny_patch4_window7_224", 4), ("hrnet_w18_small", 32), ("maxvit_tiny_tf_224", 224)],
)
def test_size_divisor(name, divisor):
    assert Pyramid(name).size_divisor == divisor


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Stages("resnt18"), "backbone must be a timm model; got 'resnt18'. Did you mean resnet18"),
        (lambda: Stages("hrnet_w18_small"), "blocks of an unrolled network must run one after the other"),
        (lambda: Stages("vit_tiny_patch16_224"), "got backbone 'vit_tiny_patch16_224', which is not such a chain"),
        (lambda: Stages("xcit_nano_12_p16_224"), "not such a chain"),
        (lambda: Stages("xception41"), "wraps it as FeatureHookNet"),
        (lambda: Stages("selecsls42b"), "not such a chain"),
        (
            lambda: Pyramid("pvt_v2_b0", output_stride=8),
            r"output_stride of backbone 'pvt_v2_b0' must be one of \[32\]; got 8",
        ),
        (lambda: Pyramid("resnet18", output_stride=4), "output_stride must be one of"),
        (
            lambda: Pyramid("convnext_atto", (2, 4)),
            r"strides of backbone 'convnext_atto' .* are \[4, 8, 16, 32\]; got 2",
        ),
        (
            lambda: Pyramid("resnet18", (4, 8, 8, 8, 8), output_stride=8),
            r"strides of backbone 'resnet18' at output_stride=8 are \[2, 4, 8, 8, 8\]; got 4, 8, 8, 8, 8",
        ),
        (lambda: Pyramid("resnet18", backbone_args={"no_such": 1}), "does not take .*no_such"),
        (lambda: Pyramid("resnet18", pretrained="no/such.safetensors"), "got 'no/such.safetensors': there is no file"),
    ],
)
def test_refusals_name_what_would_work(make, message):
    with pytest.raises(ValueError, match=message):
        make()
    # Refusals are not cached.
    with pytest.raises(ValueError, match=message):
        make()


def count_builds(monkeypatch):
    """Record the arguments of every network that is built, on the meta device or not."""
    builds, create = [], backbone._create
    monkeypatch.setattr(backbone, "_create", lambda name, **kwargs: (builds.append(kwargs), create(name, **kwargs))[1])
    return builds


@pytest.mark.parametrize(("name", "output_stride"), [("test_resnet", 16), ("vgg11_bn", 8), ("hrnet_w18_small", 32)])
def test_geometry_is_found_once(monkeypatch, name, output_stride):
    builds = count_builds(monkeypatch)
    first = Pyramid(name, output_stride=output_stride)
    probes = len(builds)
    again = Pyramid(name, output_stride=output_stride)
    assert len(builds) == probes + 1
    assert probes > 1
    assert str(again) == str(first)
    assert (again.size_divisor, again.strides, again._geometry) == (first.size_divisor, first.strides, first._geometry)


def test_geometry_depends_on_every_argument(monkeypatch):
    builds = count_builds(monkeypatch)
    for kwargs in ({}, {"in_chans": 1}, {"output_stride": 8}, {"backbone_args": {"layers": [1, 1, 1, 2]}}):
        builds.clear()
        Pyramid("test_resnet", **kwargs)
        assert len(builds) == 2, kwargs
    builds.clear()
    Pyramid("test_resnet", backbone_args={"layers": [1, 1, 1, 2]})
    assert len(builds) == 1
    # A list is another argument than a tuple, 1 than True.
    assert len({backbone._freeze({"a": value}) for value in ([1], (1,), [True], [1.0], {"b": 1})}) == 5


def test_arguments_that_cannot_be_frozen_are_not_cached(monkeypatch):
    builds = count_builds(monkeypatch)
    for _ in range(2):
        Pyramid("test_resnet", backbone_args={"act_layer": functools.partial(nn.ReLU)})
    assert len(builds) == 4


def test_name_registered_again_is_probed_again(monkeypatch):
    name = "gatezoo_registered_later"
    with pytest.raises(ValueError, match="backbone must be a timm model"):
        Pyramid(name)
    registry = timm.models._registry
    strides = []
    for source in ("test_resnet", "hrnet_w18_small"):
        monkeypatch.setitem(registry._model_entrypoints, name, registry._model_entrypoints[source])
        strides.append(Pyramid(name).size_divisor)
    assert strides == [1, 32]


def test_unknown_tag():
    with pytest.raises(ValueError, match=r"backbone must have a tag that timm knows; got 'resnet18\.nonsense'"):
        Pyramid("resnet18.nonsense")


def test_backbone_weights_from_a_file(tmp_path):
    from safetensors.torch import save_file

    source = timm.create_model("test_resnet")
    save_file(source.state_dict(), tmp_path / "w.safetensors")
    net = Stages("test_resnet", pretrained=tmp_path / "w.safetensors").net
    assert torch.equal(net["layer3"][0].conv1.weight, source.layer3[0].conv1.weight)
    with pytest.raises(ValueError, match="do not fit backbone 'mobilenetv2_035'"):
        Stages("mobilenetv2_035", pretrained=tmp_path / "w.safetensors")
    # timm itself ignores a missing tensor.
    partial = timm.create_model("mobilenetv2_035").state_dict()
    del partial["blocks.2.0.conv_pw.weight"]
    save_file(partial, tmp_path / "partial.safetensors")
    with pytest.raises(ValueError, match=r"no tensor for blocks\.2\.0\.conv_pw\.weight"):
        Stages("mobilenetv2_035", pretrained=tmp_path / "partial.safetensors")


class _InPlace(nn.Module):
    """A chain whose second stage begins with an activation in place, as a careless network's might."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3, 2, 1)
        self.second = nn.Sequential(nn.ReLU(inplace=True), nn.Conv2d(4, 5, 3, 2, 1))
        self.feature_info = [
            dict(num_chs=4, reduction=2, module="first"),
            dict(num_chs=5, reduction=4, module="second"),
        ]


@torch.no_grad()
@pytest.mark.parametrize("kind", [Stages, lambda name: Pyramid(name, (2, 4))])
def test_inplace_stage_is_disabled(monkeypatch, kind):
    monkeypatch.setattr(backbone, "_create", lambda name, **_: FeatureListNet(_InPlace(), out_indices=(0, 1)))
    net = kind("resnet18").eval()
    first, _ = net(torch.randn(1, 3, 32, 32))
    assert first.min() < 0, "the map of the first stage was rectified by the second"


def test_first_convolution_for_other_channels():
    weight = torch.randn(8, 3, 3, 3)
    torch.testing.assert_close(adapt_input_conv(1, weight), weight.sum(1, keepdim=True))
    assert adapt_input_conv(4, weight).shape == (8, 4, 3, 3)


def test_published_weights_come_from_the_hub_and_then_from_the_cache(hub):
    source = timm.create_model("test_resnet", num_classes=0)
    for value in source.state_dict().values():
        value.fill_(0.25 if value.is_floating_point() else 3)
    files = {"model.safetensors": save(source.state_dict()), "config.json": b"{}"}
    hub.put(timm.get_pretrained_cfg("test_resnet").hf_hub_id, files)
    for _ in range(2):
        pyramid = Pyramid("test_resnet", pretrained=True)
        assert all((parameter == 0.25).all() for parameter in pyramid.parameters())
    assert len(hub.counted("GET")) == 2, "the second time nothing is requested"


def test_hub_that_does_not_answer_is_one_line_within_seconds(hub):
    hub.fail("HEAD", "/resolve/", times=999, status=503)
    start = time.monotonic()
    with pytest.raises(ValueError, match=r"reachable; status 503: .*pass a file of weights of test_resnet") as caught:
        Pyramid("test_resnet", pretrained=True)
    assert time.monotonic() - start < 10
    assert "\n" not in str(caught.value)
