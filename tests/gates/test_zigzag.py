"""Test region context encoding and the pathways of ZigZagNet against loops written from the paper's equations."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import gatezoo
from gatezoo.gates.region_context import RegionContext
from gatezoo.gates.zigzag import Pathway, ZigZag, group_norm
from gatezoo.layers.grid_pool import average_to, region_matrix
from gatezoo.layers.resize import resize_to
from gatezoo.model_info import count_gmacs, count_parameters, on_meta

CHANNELS = (6, 8, 12, 16)


def maps_of(side, channels=CHANNELS, batch=1):
    """Return random maps of strides 4 8 16 32 of an image."""
    return [torch.randn(batch, c, -(-side // s), -(-side // s)) for c, s in zip(channels, (4, 8, 16, 32))]


def zigzag(in_channels, channels, regions=(3, 5, 7), groups=1, pool="mean", **keywords):
    """Return a ZigZag with region context encodings of these keywords."""
    return ZigZag(
        in_channels, channels, encoder=lambda level: RegionContext(channels, regions, groups, pool), **keywords
    )


def rce_by_loops(rce, x):
    """Compute eqs. 5 and 6 pixel by pixel."""
    height, width = x.shape[-2:]
    out = x.clone()
    for k, branch, gather, spread in zip(rce.regions, rce.branches, rce.gather, rce.spread):
        convolved = F.conv2d(x, branch.weight, padding=1)
        summed, count = torch.zeros(*x.shape[:2], k, k), torch.zeros(k, k)
        places = [(h, w, h * k // height, w * k // width) for h in range(height) for w in range(width)]
        for h, w, row, column in places:
            summed[:, :, row, column] += convolved[:, :, h, w]
            count[row, column] += 1
        if rce.pool == "mean":
            summed = summed / count.clamp(min=1)
        encoded = F.conv_transpose2d(
            F.conv2d(summed, gather.weight, gather.bias, groups=gather.groups).relu(),
            spread.weight,
            spread.bias,
            groups=spread.groups,
        )
        for h, w, row, column in places:
            out[:, :, h, w] += encoded[:, :, row, column]
    return out


@pytest.mark.parametrize("pool", ["mean", "sum"])
@pytest.mark.parametrize("size", [(7, 7), (11, 16), (3, 5), (23, 8)])
def test_region_context_equals_equations_5_and_6(pool, size):
    rce = RegionContext(8, groups=2, pool=pool)
    x = torch.randn(2, 8, *size)
    torch.testing.assert_close(rce(x), rce_by_loops(rce, x), atol=1e-5, rtol=1e-5)


def test_region_context_parameter_counts():
    rce = RegionContext(16)
    weights = {kind: sum(c.weight.numel() for c in getattr(rce, kind)) for kind in ("branches", "gather", "spread")}
    assert weights["gather"] + weights["spread"] == 166 * 16**2
    assert weights["branches"] == 27 * 16**2
    grouped = RegionContext(16, groups=4)
    assert sum(c.weight.numel() for c in [*grouped.gather, *grouped.spread]) == 166 * 16**2 // 4


def test_region_context_without_its_last_convolution_is_the_identity():
    rce, x = RegionContext(8), torch.randn(1, 8, 10, 13)
    for spread in rce.spread:
        nn.init.zeros_(spread.weight)
        nn.init.zeros_(spread.bias)
    assert torch.equal(rce(x), x)
    assert torch.equal(RegionContext(8, regions=())(x), x)


@pytest.mark.parametrize("place", [(0, 0), (5, 9), (11, 16)])
def test_region_context_connects_all_pixels(place):
    rce, x = RegionContext(8).double(), torch.randn(1, 8, 12, 17, dtype=torch.float64)
    changed = x.clone()
    changed[0, :, place[0], place[1]] += 100
    assert ((rce(changed) - rce(x)).abs().amax(1) > 1e-9).all()


@pytest.mark.parametrize("size", [7, 8, 15, 23, 60])
@pytest.mark.parametrize("regions", [3, 5, 7])
def test_region_matrix_partitions_a_line(size, regions):
    _, matrix = region_matrix(size, (2, regions), torch.zeros(1)).split((2, regions))
    assert (matrix.sum(0) == 1).all()
    assert matrix.argmax(0).tolist() == [h * regions // size for h in range(size)]
    assert (matrix.sum(1) > 0).all()


def test_region_mean_does_not_depend_on_the_image_size():
    """For a uniform image three times as large, the sum inside a region changes and the mean does not."""
    small, large = torch.ones(1, 8, 21, 21), torch.ones(1, 8, 63, 63)
    for pool, same in (("mean", True), ("sum", False)):
        torch.manual_seed(0)
        rce = RegionContext(8, pool=pool)
        for branch in rce.branches:  # the padding would have another weight
            branch.weight.data[:] = 0
            branch.weight.data[:, :, 1, 1] = torch.eye(8)
        near = torch.allclose(rce(small)[..., 0, 0], rce(large)[..., 0, 0], atol=1e-4)
        assert near == same


def test_average_to_is_adaptive_average_pooling():
    x = torch.randn(2, 3, 29, 41)
    for size in ((15, 21), (8, 11), (29, 41)):
        torch.testing.assert_close(average_to(x, size), F.adaptive_avg_pool2d(x, size))


def zigzag_by_loops(net, maps):
    """Compute eqs. 1 to 4 and the last fusion, each product separately; levels 0 .. 3 are 1 .. 4 of the paper."""
    levels = range(len(maps))
    combine = net.down[0].combine

    def combined(contexts, i, resize, norm):
        """Combine the ``contexts``, by level, at the size of level i; 0 if there are none."""
        product = None
        for level in contexts:
            received = resize(contexts[level], maps[i].shape[-2:])
            product = received if product is None else combine(product, received)
        return 0 if product is None else norm(product)

    base = [lateral(x) for lateral, x in zip(net.lateral, maps)]
    fd, fu = {}, {}
    for stage in range(net.stages):
        shared = 0 if net.share_rce else stage
        old_fd, old_fu, fd, fu = fd, fu, {}, {}
        context = {}
        for i in reversed(levels):
            own = base[i]
            if stage:
                conv = net.fuse_down[stage - 1][i]
                own = conv[1](conv[0](old_fd[i] + old_fu[i])).relu()
            sources = context if net.down[stage].dense else {k: v for k, v in context.items() if k == i + 1}
            number = len(maps) - 1 - i  # in the order of the pathway
            fd[i] = own + combined(sources, i, resize=resized, norm=net.down[stage].norms[number - 1])
            if i:
                context[i] = rce_by_loops(net.encode_down[shared][number], fd[i])
        context = {}
        for j in levels[: len(net.up[stage].norms) + 1]:
            own = fd[j]
            if stage:
                conv = net.fuse_up[stage - 1][j]
                own = conv[1](conv[0](fd[j] + old_fu[j])).relu()
            sources = context if net.up[stage].dense else {k: v for k, v in context.items() if k == j - 1}
            fu[j] = own + combined(
                sources, j, resize=F.adaptive_avg_pool2d, norm=net.up[stage].norms[j - 1] if j else None
            )
            if j < len(net.up[stage].norms):
                context[j] = rce_by_loops(net.encode_up[shared][j], fu[j])
    if net.result is None:
        return [fu[i] for i in fu]
    return [conv[1](conv[0](fd[i] + fu[i])).relu() for i, conv in enumerate(net.result)]


def resized(x, size):
    return F.interpolate(x, size, mode="bilinear")


@pytest.mark.parametrize(
    "keywords",
    [
        dict(),
        dict(stages=2, outputs=1, share_rce=True),
        dict(stages=2, combine="sum", pool="sum", outputs=3),
        dict(dense=False, regions=(3,)),
        dict(stages=1),
        dict(stages=1, result="bottom_up"),
        dict(norm=False, stages=1),
    ],
    ids=str,
)
@torch.no_grad()
def test_zigzag_equals_equations_1_to_4(keywords):
    net = zigzag(CHANNELS, 8, groups=2, **keywords)
    for norm in (module for module in net.modules() if isinstance(module, nn.GroupNorm)):
        nn.init.normal_(norm.weight, 1, 0.3)
        nn.init.normal_(norm.bias, 0, 0.3)
    maps = maps_of(57)
    outputs, expected = net(maps), zigzag_by_loops(net, maps)
    assert len(outputs) == len(expected) == keywords.get("outputs", 4)
    for ours, theirs in zip(outputs, expected):
        torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(("channels", "groups"), [(32, 4), (128, 16), (256, 32), (12, 1), (36, 4), (33, 1)])
def test_group_norm_keeps_relative_channel_strengths(channels, groups):
    norm = group_norm(channels, True)
    assert norm.num_groups == groups
    x = torch.rand(1, channels, 5, 5) + torch.arange(channels).reshape(1, -1, 1, 1)
    assert norm(x).mean((0, 2, 3)).diff()[: channels // groups - 1].min() > 0


@torch.no_grad()
def test_pathway_products_start_at_a_tenth_of_the_maps():
    maps = [torch.randn(2, 16, side, side) for side in (8, 16, 32)]
    outputs = Pathway(16, 3, resize_to)(maps, [lambda x: x] * 2)
    for ours, own in zip(outputs[1:], maps[1:]):
        assert (ours - own).std().item() == pytest.approx(0.1, rel=0.01)


def test_top_down_pathway_alone_is_an_encoder_decoder():
    net = zigzag(CHANNELS, 8, stages=1, result="top_down", dense=False, regions=(), norm=False).eval()
    maps = maps_of(57)
    own = [lateral(x) for lateral, x in zip(net.lateral, maps)]
    for level in (2, 1, 0):
        own[level] = own[level] + resized(own[level + 1], own[level].shape[-2:])
    for ours, theirs in zip(net(maps), own):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("outputs", [1, 2, 4])
@torch.no_grad()
def test_fewer_outputs_omit_unused_parts_and_keep_the_rest(outputs):
    full, part = zigzag(CHANNELS, 8, groups=2), zigzag(CHANNELS, 8, groups=2, outputs=outputs)
    own = full.state_dict()
    part.load_state_dict({key: own[key] for key in part.state_dict()})
    maps = maps_of(64)
    for ours, theirs in zip(part(maps), full(maps)[:outputs], strict=True):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize(("share", "count"), [(False, 18), (True, 6)])
def test_zigzag_has_one_encoder_per_map_pathway_and_stage(share, count):
    net = ZigZag(CHANNELS, 16, share_rce=share)
    assert sum(isinstance(module, RegionContext) for module in net.modules()) == count
    assert sum(isinstance(module, RegionContext) for module in ZigZag(CHANNELS, 16, outputs=1).modules()) == 15


def test_parameter_count_of_eighteen_encoders_of_256_channels():
    with torch.device("meta"):
        net = ZigZag((256, 512, 1024, 2048), 256)
    encoders = [m for m in net.modules() if isinstance(m, RegionContext)]
    weights = sum(p.numel() for m in encoders for p in m.parameters() if p.ndim > 1)
    assert round(weights / 1e6) == 228


def spreads(net, maps):
    """Return the standard deviations of all outputs of the pathways, and of the result."""
    outputs = []
    for module in net.modules():
        if isinstance(module, Pathway):
            module.register_forward_hook(lambda _module, _inputs, maps: outputs.extend(maps))
    with torch.no_grad():
        outputs += net(maps)
    return torch.stack([x.std() for x in outputs])


@pytest.mark.parametrize("side", [96, 513])
@pytest.mark.parametrize("training", [True, False])
def test_untrained_zigzag_keeps_the_spread_of_maps(side, training):
    spread = spreads(ZigZag((16, 32, 64, 128), 32).train(training), maps_of(side, (16, 32, 64, 128)))
    assert len(spread) == 3 * 8 + 4
    assert ((spread > 0.1) & (spread < 10)).all(), spread


@pytest.mark.parametrize("side", [96, 513])
def test_zigzag_without_norms_overflows(side):
    """The equations exactly as published: the reason why norms are the default."""
    spread = spreads(ZigZag((64, 128, 256, 512), 128, norm=False), maps_of(side, (64, 128, 256, 512)))
    assert not torch.isfinite(spread).all()


@torch.no_grad()
def test_untrained_model_keeps_the_spread_of_maps_in_both_modes():
    for side in (96, 513):
        for training in (True, False):
            model = gatezoo.create_model("test_zigzag", stages=3, regions=(3, 5, 7)).train(training)
            maps = model.backbone(torch.randn(1, 3, side, side))
            spread = spreads(model.head.fuse, maps)
            assert ((spread > 0.1) & (spread < 10)).all(), spread


@pytest.mark.parametrize("name", ["test_zigzag", "test_zigzag_maskrcnn"])
def test_every_pathway_parameter_gets_a_gradient(name):
    """Also for a batch of one image that is so small that regions are empty."""
    model = gatezoo.create_model(name, stages=3, regions=(3, 5, 7)).train()
    neck = model.head.fuse if model.task == "semantic" else model.neck
    sum(x.square().sum() for x in neck(model.backbone(torch.randn(1, 3, 97, 65)))).backward()
    assert [key for key, p in neck.named_parameters() if p.grad is None or not p.grad.abs().sum()] == []


@pytest.mark.parametrize("scale", [0.6, 0.8, 1.0, 1.2, 1.4])
@torch.no_grad()
def test_zigzag_accepts_the_scales_of_the_paper(scale):
    side = round(473 * scale)
    model = on_meta("zigzag_r101")
    assert model(torch.empty(1, 3, side, side, device="meta")).shape == (1, 21, side, side)


def test_zigzag_trains_on_a_single_image_of_32_pixels():
    model = gatezoo.create_model("test_zigzag", freeze_bn=True).train()
    logits = model(torch.randn(1, 3, 32, 33))
    logits.sum().backward()
    assert torch.isfinite(logits).all()


def test_zigzag_r101_parameters_and_gmacs():
    model = on_meta("zigzag_r101")
    own = count_parameters(model) - count_parameters(model.backbone)
    encoder, conv, norm = 193 * 128**2 + 6 * 128, 9 * 128**2 + 256, 256
    laterals = sum(model.backbone.channels) * 128 + 4 * norm
    # 3 pathways down and 2 up with 3 encoders each; 2 x 4 fusions down, 4 + 1 up, the result; a norm for each product.
    assert own == 15 * encoder + laterals + 14 * conv + 15 * norm + 129 * 21
    pathways = count_gmacs(model, 473, 473) - count_gmacs(on_meta("fpn_r101", channels=128), 473, 473)
    assert 0 < pathways < 0.5 * count_gmacs(model, 473, 473)


@pytest.mark.parametrize("backbone", ["resnet50", "mobilenetv2_100", "convnext_tiny", "swin_tiny_patch4_window7_224"])
def test_zigzag_accepts_any_pyramid_of_the_four_strides(backbone):
    model = on_meta("zigzag_r50", backbone=backbone)
    assert model(torch.empty(1, 3, 65, 97, device="meta")).shape == (1, 21, 65, 97)


@pytest.mark.parametrize(
    ("keywords", "text"),
    [
        (
            dict(backbone="vit_small_patch16_224"),
            r"strides of backbone 'vit_small_patch16_224' .* are \[16, 16, 16\]; got 4",
        ),
        (dict(stages=0), "stages must be a whole number, at least 1; got 0"),
        (dict(fusion=False), "stages of an exchange need fusion and bottom_up; got 2 without: set stages=1"),
        (
            dict(bottom_up=False, stages=3),
            "stages of an exchange need fusion and bottom_up; got 3 without: set stages=1",
        ),
        (dict(regions=(3, 0)), r"regions must be different numbers, each at least 1; got \(3, 0\)"),
        (dict(regions=(3, 3)), r"regions must be different numbers, each at least 1; got \(3, 3\)"),
        (dict(groups=3), "groups must divide the 16 channels; got 3"),
        (dict(pool="max"), "pool must be one of mean, sum; got 'max'"),
        (dict(combine="minus"), "combine must be one of product, sum; got 'minus'"),
    ],
)
def test_zigzag_refuses_invalid_arguments(keywords, text):
    with pytest.raises(ValueError, match=text):
        gatezoo.create_model("test_zigzag", **keywords)


def test_zigzag_refuses_more_outputs_than_maps():
    with pytest.raises(ValueError, match=r"outputs must be 1 \.\. 4 of the maps; got 5"):
        ZigZag(CHANNELS, 8, outputs=5)


def test_zigzag_refuses_small_images_without_empty_regions():
    model = gatezoo.create_model("test_zigzag", regions=(3, 5, 7), empty_regions=False).eval()
    with pytest.raises(ValueError, match="images must be at least 193 pixels on each side; got 192x256: enlarge them"):
        model(torch.randn(1, 3, 192, 256))
    assert model.backbone(torch.randn(1, 3, 193, 193))[-1].shape[-2:] == (7, 7)
    with torch.no_grad():
        assert model(torch.randn(1, 3, 193, 256)).shape == (1, 21, 193, 256)
