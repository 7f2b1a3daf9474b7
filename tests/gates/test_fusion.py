"""Test fusions, dense feature pyramid and context modules against loops written from the papers' equations."""

import itertools

import pytest
import torch
import torch.nn.functional as F
from helpers.loops import bilinear_by_loops, conv_by_loops
from torch import nn

from gatezoo.gates.fusion import FUSIONS, GatedFullyFusion, LevelGate, make_fusion, sums_of_others
from gatezoo.heads.context import CONTEXTS, make_context
from gatezoo.heads.dense_pyramid import DenseFeaturePyramid
from gatezoo.heads.fusion import JointClassifier
from gatezoo.heads.pyramid_pooling import PyramidPooling
from gatezoo.layers.conv import SingletonBatchNorm2d
from gatezoo.layers.resize import resize_to

CHANNELS, CONTEXT, WIDTH = [3, 4, 5, 6], 7, 8
SIZES = [(9, 12), (5, 6), (5, 6), (5, 6)]


@pytest.fixture
def maps():
    return [torch.randn(2, count, *size) for count, size in zip(CHANNELS, SIZES)]


@pytest.fixture
def context():
    return torch.randn(2, CONTEXT, *SIZES[-1])


def make_random(name, **keywords):
    """Return a fusion in evaluation mode whose gates and norms are far from their initial values."""
    fusion = make_fusion(name, CHANNELS, CONTEXT, WIDTH, **keywords).eval()
    for module in fusion.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean)
            nn.init.uniform_(module.running_var, 0.5, 2)
        elif isinstance(module, LevelGate):
            nn.init.normal_(module[0].weight)
            nn.init.normal_(module[0].bias)
    return fusion


def expected_gates(gates, raw):
    """Compute sigmoid(w * X_l) of the raw maps."""
    return [
        conv_by_loops(x, gate[0].weight, gate[0].bias).sigmoid() for gate, x in zip(gates.values(), raw, strict=True)
    ]


def expected_laterals(fusion, maps):
    laterals = []
    for (conv, norm, _), x in zip(fusion.lateral, maps, strict=True):
        mean, spread = norm.running_mean[:, None, None], (norm.running_var + norm.eps).sqrt()[:, None, None]
        laterals.append(((conv_by_loops(x, conv.weight, torch.zeros(WIDTH)) - mean) / spread).relu())
    return laterals


@torch.no_grad()
@pytest.mark.parametrize("gate", ["pixel", "channel"])
def test_gff_is_equation_5(maps, context, gate):
    fusion = make_random("gff", gate=gate)
    fused, gate_maps = fusion(maps, context)
    gates, x = expected_gates(fusion.gates, maps), expected_laterals(fusion, maps)
    for level in range(4):
        others = [bilinear_by_loops(gates[i] * x[i], SIZES[level]) for i in range(4) if i != level]
        expected = (1 + gates[level]) * x[level] + (1 - gates[level]) * sum(others)
        torch.testing.assert_close(fused[level], expected, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(gate_maps[level + 1], gates[level], atol=1e-5, rtol=1e-5)
        assert gate_maps[level + 1].shape[1] == {"pixel": 1, "channel": WIDTH}[gate]


@torch.no_grad()
@pytest.mark.parametrize("gate", ["pixel", "channel"])
def test_gff_in_turn_sends_what_finer_levels_have_received(maps, context, gate):
    fusion = make_random("gff_in_turn", gate=gate)
    fused, gate_maps = fusion(maps, context)
    gates, x = expected_gates(fusion.gates, maps), expected_laterals(fusion, maps)
    for level in range(4):
        others = [bilinear_by_loops(gates[i] * x[i], SIZES[level]) for i in range(4) if i != level]
        # Replaced at once, so that the levels after this one receive it.
        x[level] = (1 + gates[level]) * x[level] + (1 - gates[level]) * sum(others)
        torch.testing.assert_close(fused[level], x[level], atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(gate_maps[level + 1], gates[level], atol=1e-5, rtol=1e-5)
    same = GatedFullyFusion(CHANNELS, CONTEXT, WIDTH, gate).eval()
    same.load_state_dict(fusion.state_dict())
    at_once = same(maps, context)[0]
    torch.testing.assert_close(fused[0], at_once[0], atol=1e-5, rtol=1e-5)
    assert not torch.allclose(fused[1], at_once[1], atol=1e-2)


@torch.no_grad()
def test_addition_is_equation_3(maps, context):
    fusion = make_random("addition")
    fused, gates = fusion(maps, context)
    x = expected_laterals(fusion, maps)
    for f, size in zip(fused, SIZES, strict=True):
        torch.testing.assert_close(f, sum(bilinear_by_loops(y, size) for y in x), atol=1e-4, rtol=1e-4)
    assert gates == {}


@torch.no_grad()
def test_concatenation_is_equation_2(maps, context):
    fusion = make_random("concat")
    fused, _ = fusion(maps, context)
    x = expected_laterals(fusion, maps)
    for merge, f, size in zip(fusion.merge, fused, SIZES, strict=True):
        joined = torch.cat([bilinear_by_loops(y, size) for y in x], 1)
        assert joined.shape[1] == 4 * WIDTH
        torch.testing.assert_close(f, merge(joined), atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_fpn_is_equation_4_from_the_context_down(maps, context):
    fusion = make_random("fpn")
    fused, _ = fusion(maps, context)
    expected, above = [], fusion.top(context)
    for x in reversed(expected_laterals(fusion, maps)):
        above = x + bilinear_by_loops(above, x.shape[-2:])
        expected.insert(0, above)
    for f, e in zip(fused, expected, strict=True):
        torch.testing.assert_close(f, e, atol=1e-4, rtol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize("gate", ["pixel", "channel"])
def test_gated_fpn_receives_from_the_level_above_alone(maps, context, gate):
    fusion = make_random("gated_fpn", gate=gate)
    fused, gate_maps = fusion(maps, context)
    gates, x = expected_gates(fusion.gates, [*maps, context]), expected_laterals(fusion, maps)
    expected = {5: fusion.top(context)}
    for level in (4, 3, 2, 1):
        g, sent = gates[level - 1], gates[level] * expected[level + 1]
        expected[level] = (1 + g) * x[level - 1] + (1 - g) * bilinear_by_loops(sent, SIZES[level - 1])
    for level, f in enumerate(fused, start=1):
        torch.testing.assert_close(f, expected[level], atol=1e-4, rtol=1e-4)
    assert list(gate_maps) == [1, 2, 3, 4, 5]
    assert {g.shape[1] for g in gate_maps.values()} == {{"pixel": 1, "channel": WIDTH}[gate]}


def force(fusion, values):
    """Replace the outputs of the gates by fixed values, by level."""
    for level, gate in fusion.gate_modules().items():
        gate.register_forward_hook(lambda module, inputs, out, value=values[level - 1]: torch.full_like(out, value))


@torch.no_grad()
def test_closed_gates_keep_every_level_and_open_gates_double_it(maps, context):
    fusion = make_random("gff")
    laterals = fusion._laterals(maps)
    force(fusion, [0.0] * 4)
    assert all(torch.equal(f, x) for f, x in zip(fusion(maps, context)[0], laterals, strict=True))
    fusion = make_random("gff")
    laterals = fusion._laterals(maps)
    force(fusion, [1.0] * 4)
    assert all(torch.equal(f, 2 * x) for f, x in zip(fusion(maps, context)[0], laterals, strict=True))


@torch.no_grad()
@pytest.mark.parametrize("closed", range(4))
def test_closed_receiver_of_open_senders_is_the_plain_sum(maps, context, closed):
    fusion = make_random("gff")
    force(fusion, [float(level != closed) for level in range(4)])
    plain = make_fusion("addition", CHANNELS, CONTEXT, WIDTH).eval()
    plain.load_state_dict({key: value for key, value in fusion.state_dict().items() if not key.startswith("gates.")})
    torch.testing.assert_close(fusion(maps, context)[0][closed], plain(maps, context)[0][closed], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("receiver", "sender"), list(itertools.permutations(range(4), 2)))
def test_gradient_reaches_a_level_from_another_through_both_gates_alone(receiver, sender):
    """d X~_l / d X_i = (1 - G_l) G_i: no more where G_l is 1 or G_i is 0."""
    size = (3, 4)
    fusion = make_random("gff")
    x = [torch.rand(1, WIDTH, *size, requires_grad=True) for _ in CHANNELS]
    for lateral, own in zip(fusion.lateral, x):
        lateral.register_forward_hook(lambda module, inputs, out, own=own: own)
    raw = [torch.randn(1, count, *size) for count in CHANNELS]
    fused, gates = fusion(raw, torch.zeros(1, CONTEXT, *size))
    fused[receiver].sum().backward()
    expected = (1 - gates[receiver + 1]) * gates[sender + 1]
    torch.testing.assert_close(x[sender].grad, expected.expand_as(x[sender]))
    assert x[sender].grad.abs().min() > 0
    for closed in ({receiver: 1.0}, {sender: 0.0}):
        fusion = make_random("gff")
        x = [torch.rand(1, WIDTH, *size, requires_grad=True) for _ in CHANNELS]
        for lateral, own in zip(fusion.lateral, x):
            lateral.register_forward_hook(lambda module, inputs, out, own=own: own)
        force(fusion, [closed.get(level, 0.5) for level in range(4)])
        fusion(raw, torch.zeros(1, CONTEXT, *size))[0][receiver].sum().backward()
        assert not x[sender].grad.any()


@torch.no_grad()
@pytest.mark.parametrize("order", [(3, 2, 1, 0), (1, 0, 3, 2), (2, 3, 0, 1)])
def test_gff_does_not_depend_on_the_order_of_levels(maps, context, order):
    fusion = make_random("gff")
    turned = GatedFullyFusion([CHANNELS[i] for i in order], CONTEXT, WIDTH).eval()
    turned.lateral = nn.ModuleList(fusion.lateral[i] for i in order)
    turned.gates = nn.ModuleDict({str(place): fusion.gates[str(i + 1)] for place, i in enumerate(order, start=1)})
    fused = fusion(maps, context)[0]
    for f, i in zip(turned([maps[i] for i in order], context)[0], order, strict=True):
        torch.testing.assert_close(f, fused[i], atol=1e-5, rtol=1e-5)


def test_sums_of_others_resizes_once_between_two_sizes(monkeypatch):
    """Levels of equal size are added before they are resized: one resize from any size to any other."""
    calls = []

    def counted(x, size):
        calls.append((tuple(x.shape[-2:]), tuple(size)))
        return resize_to(x, size)

    monkeypatch.setattr("gatezoo.gates.fusion.resize_to", counted)
    sums_of_others([torch.ones(1, 2, *size) for size in SIZES])
    assert sorted(calls) == [((5, 6), (9, 12)), ((9, 12), (5, 6))]


@pytest.mark.parametrize("name", FUSIONS)
def test_fusions_accept_levels_of_any_sizes(name):
    sizes = [(17, 23), (9, 12), (5, 6), (3, 3)]
    maps = [torch.randn(2, count, *size) for count, size in zip(CHANNELS, sizes)]
    fusion = make_fusion(name, CHANNELS, CONTEXT, WIDTH)
    fused, gates = fusion(maps, torch.randn(2, CONTEXT, 3, 3))
    assert [tuple(f.shape) for f in fused] == [(2, WIDTH, *size) for size in sizes]
    assert gates.keys() == fusion.gate_modules().keys()
    sum(f.square().mean() for f in fused).backward()
    assert all(p.grad is not None for p in fusion.parameters())


@torch.no_grad()
def test_dense_pyramid_reads_each_level_and_all_above():
    levels = [torch.randn(2, WIDTH, *size) for size in SIZES]
    context = torch.randn(2, CONTEXT, *SIZES[-1])
    pyramid = DenseFeaturePyramid(CONTEXT, 4, WIDTH).eval()
    up = [F.interpolate(x, SIZES[0], mode="bilinear") for x in levels]
    y0 = F.interpolate(context, SIZES[0], mode="bilinear")
    y1 = pyramid.merge[0](torch.cat([y0, up[3]], 1))
    y2 = pyramid.merge[1](torch.cat([y0, y1, up[2]], 1))
    y3 = pyramid.merge[2](torch.cat([y0, y1, y2, up[1]], 1))
    y4 = pyramid.merge[3](torch.cat([y0, y1, y2, y3, up[0]], 1))
    for y, expected in zip(pyramid(levels, context), [y4, y3, y2, y1, y0], strict=True):
        torch.testing.assert_close(y, expected)


@torch.no_grad()
def test_joint_classifier_is_a_1x1_convolution_of_the_concatenation(maps):
    classifier = JointClassifier(CHANNELS, 3)
    whole = torch.cat([bilinear_by_loops(x, SIZES[0]) for x in maps], 1)
    expected = F.conv2d(whole, classifier.weight, classifier.bias)
    torch.testing.assert_close(classifier(maps), expected, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_pyramid_pooling_is_the_concatenation_of_pooled_maps():
    module = PyramidPooling(8, 5).eval()
    x = torch.randn(2, 8, 11, 13)
    pooled = [branch(F.adaptive_avg_pool2d(x, bins)) for branch, bins in zip(module.branches, (1, 2, 3, 6))]
    assert all(p.shape[1] == 2 for p in pooled)
    whole = torch.cat([x, *(F.interpolate(p, (11, 13), mode="bilinear") for p in pooled)], 1)
    torch.testing.assert_close(module(x), module.merge(whole), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", CONTEXTS)
def test_contexts_train_on_a_batch_of_one(name):
    module = make_context(name, 8, 16).train()
    out = module(torch.randn(1, 8, 9, 7))
    assert out.shape == (1, module.out_channels, 9, 7)
    out.square().mean().backward()
    assert all(torch.isfinite(p.grad).all() for p in module.parameters())


def test_dense_aspp_on_a_densenet121_has_its_authors_widths():
    module = make_context("dense_aspp", 1024, 512)
    assert module.out_channels == 512 + 5 * 128
    assert [step[0][0].in_channels for step in module.steps] == [512, 640, 768, 896, 1024]
    assert [step[1][0].dilation[0] for step in module.steps] == [3, 6, 12, 18, 24]


def test_singleton_batch_norm_differs_from_batch_norm_for_a_single_value_only():
    ours, plain = SingletonBatchNorm2d(3), nn.BatchNorm2d(3)
    for _ in range(2):
        x = torch.randn(2, 3, 1, 1)
        assert torch.equal(ours(x), plain(x))
    assert torch.equal(ours.running_var, plain.running_var)
    single, before = torch.randn(1, 3, 1, 1), ours.running_mean.clone()
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        plain(single)
    assert torch.equal(ours(single), plain.eval()(single))
    assert torch.equal(ours.running_mean, before)


def test_fusions_and_contexts_refuse_invalid_arguments():
    with pytest.raises(ValueError, match=f"fusion must be one of {', '.join(FUSIONS)}; got 'sum'"):
        make_fusion("sum", CHANNELS, CONTEXT)
    with pytest.raises(ValueError, match="gate must be one of pixel, channel; got 'row'"):
        make_fusion("gff", CHANNELS, CONTEXT, gate="row")
    with pytest.raises(ValueError, match="levels to fuse must be at least two; got 1: ask for more strides"):
        make_fusion("gff", [3], CONTEXT)
    with pytest.raises(
        ValueError, match="context must be one of pyramid_pooling, dense_aspp, atrous_pooling; got 'ppm'"
    ):
        make_context("ppm", 8, 8)
