"""Test the gates of DIGNet and RIGNet against slow loops written from the papers' equations."""

import pytest
import torch
import torch.nn.functional as F
from helpers.loops import bilinear_by_loops, conv_by_loops

from gatezoo.gates.distributed import ROUTINGS, DistributedFeedback
from gatezoo.gates.iterative import IterativeFeedback, IterativeGate, MultiRangeFeedback
from gatezoo.gates.modulator import Modulator
from gatezoo.gates.propagator import Propagator
from gatezoo.gates.routed import NetworkWideFeedback, RoutedFeedback


def pool_by_loops(x, bins):
    height, width = x.shape[-2:]
    out = torch.zeros(*x.shape[:2], bins, bins)
    for b in range(bins):
        for c in range(bins):
            rows = range(b * height // bins, -((b + 1) * height // -bins))
            columns = range(c * width // bins, -((c + 1) * width // -bins))
            out[..., b, c] = sum(x[..., r, s] for r in rows for s in columns) / (len(rows) * len(columns))
    return out


@torch.no_grad()
def test_propagator_is_equation_1():
    gate = Propagator([5, 3], [4, 2], 6)
    feature, signal = torch.randn(2, 5, 4, 5), torch.randn(2, 3, 2, 3)
    feedback = bilinear_by_loops(signal, (4, 5))
    w_a, w_b, w_c = gate.sources[0], gate.sources[1], gate.fuse
    joined = torch.cat(
        [conv_by_loops(feature, w_a.weight, w_a.bias).relu(), conv_by_loops(feedback, w_b.weight, w_b.bias).relu()], 1
    )
    expected = conv_by_loops(joined, w_c.weight, w_c.bias)
    torch.testing.assert_close(gate([feature, signal]), expected, atol=1e-5, rtol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("bins", [(1, 3, 5, 7), ()])
def test_modulator_equals_the_explicit_pyramid(bins):
    gate = Modulator(3, 4, bins)
    torch.nn.init.normal_(gate.weigh.weight)
    torch.nn.init.normal_(gate.weigh.bias)
    coarse = torch.randn(2, 3, 5, 4)
    signal = bilinear_by_loops(coarse, (8, 9))
    joined = torch.cat([signal, *(bilinear_by_loops(pool_by_loops(signal, b), (8, 9)) for b in bins)], 1)
    expected = conv_by_loops(joined, gate.weigh.weight, gate.weigh.bias).sigmoid()
    torch.testing.assert_close(gate(coarse, (8, 9)), expected, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_modulators_start_open():
    gate = Modulator(64, 32)(torch.randn(1, 64, 16, 16), (16, 16))
    assert 0.94 < gate.min() <= gate.max() < 0.965


CHANNELS = [3, 8, 12, 16, 24, 32, 5]
SIZES = [(33, 41), (17, 21), (9, 11), (9, 11), (5, 6), (3, 3), (3, 3)]


@pytest.fixture
def maps():
    return [torch.randn(1, channels, *size) for channels, size in zip(CHANNELS, SIZES, strict=True)]


@torch.no_grad()
def test_cascade_is_algorithm_1(maps):
    feedback = DistributedFeedback(CHANNELS)
    gates = feedback(maps)
    signal, expected = maps[6], {6: feedback.modulators["6"](maps[6], SIZES[5])}
    for k in range(5, 0, -1):
        gate = feedback.propagators[str(k)]
        a, b = gate.sources[0](maps[k]).relu(), gate.sources[1](signal).relu()
        signal = F.interpolate(gate.fuse(torch.cat([a, b], 1)), SIZES[k - 1], mode="bilinear")
        expected[k] = feedback.modulators[str(k)](signal, SIZES[k - 1])
    assert gates.keys() == expected.keys()
    for block, gate in gates.items():
        assert gate.shape == (1, CHANNELS[block - 1], *SIZES[block - 1])
        torch.testing.assert_close(gate, expected[block])


@torch.no_grad()
@pytest.mark.parametrize(
    ("routing", "sources"), [("cascade", {3, 4, 5, 6}), ("stage", {3}), ("last", {6})], ids=["cascade", "stage", "last"]
)
def test_gate_depends_on_the_sources_of_its_routing(maps, routing, sources):
    """Table 2: the gate of block 3 depends on all maps from map 3 on, map 3 alone, or the prediction alone."""
    feedback = DistributedFeedback(CHANNELS, routing=routing)
    for modulator in feedback.modulators.values():
        torch.nn.init.normal_(modulator.weigh.weight)
    before = feedback(maps)[3]
    effective = set()
    for block in range(7):
        changed = [f + (k == block) for k, f in enumerate(maps)]
        if not torch.equal(feedback(changed)[3], before):
            effective.add(block)
    assert effective == sources


@pytest.mark.parametrize("shallowest", range(1, 7))
def test_shallowest_is_the_first_gated_block(maps, shallowest):
    feedback = DistributedFeedback(CHANNELS, shallowest)
    assert set(feedback(maps)) == set(range(shallowest, 7))
    assert set(feedback.propagators) == {str(k) for k in range(shallowest, 6)}


def test_propagator_widths_are_the_authors():
    feedback = DistributedFeedback([3, 64, 256, 512, 1024, 2048, 21])
    rows = {
        k: [conv.out_channels for conv in gate.sources] + [gate.fuse.out_channels]
        for k, gate in feedback.propagators.items()
    }
    assert rows == {
        "5": [128, 128, 256],
        "4": [128, 256, 256],
        "3": [64, 128, 128],
        "2": [32, 64, 64],
        "1": [16, 32, 32],
    }


def test_distributed_feedback_refuses_invalid_arguments():
    with pytest.raises(ValueError, match=f"feedback must be one of {', '.join(ROUTINGS)}; got 'cascad'"):
        DistributedFeedback(CHANNELS, routing="cascad")
    with pytest.raises(ValueError, match=r"shallowest must be a block of this network, 1 \.\. 6; got 7"):
        DistributedFeedback(CHANNELS, shallowest=7)


def average_by_loops(x, reach=2):
    """Average over the pixels of the window that are inside the map."""
    height, width = x.shape[-2:]
    out = torch.zeros_like(x)
    for y in range(height):
        for z in range(width):
            rows = range(max(0, y - reach), min(height, y + reach + 1))
            columns = range(max(0, z - reach), min(width, z + reach + 1))
            out[..., y, z] = sum(x[..., r, s] for r in rows for s in columns) / (len(rows) * len(columns))
    return out


def maximum_by_loops(x, reach=2):
    height, width = x.shape[-2:]
    out = torch.zeros_like(x)
    for y in range(height):
        for z in range(width):
            window = x[..., max(0, y - reach) : y + reach + 1, max(0, z - reach) : z + reach + 1]
            out[..., y, z] = window.amax((-2, -1))
    return out


@torch.no_grad()
@pytest.mark.parametrize("pool", [("average", average_by_loops), ("max", maximum_by_loops), ("none", lambda x: x)])
@pytest.mark.parametrize("interaction", ["multiply_sigmoid", "multiply_tanh", "add_relu"])
def test_iterative_gate_is_equation_1(pool, interaction):
    gate = IterativeGate(3, 4, pool[0], interaction)
    torch.nn.init.normal_(gate.weigh.weight)
    torch.nn.init.normal_(gate.weigh.bias)
    output = torch.randn(2, 3, 6, 7)
    activation = {"multiply_sigmoid": torch.sigmoid, "multiply_tanh": torch.tanh, "add_relu": torch.relu}[interaction]
    weighed = activation(conv_by_loops(pool[1](output), gate.weigh.weight, gate.weigh.bias))
    torch.testing.assert_close(gate(output, (9, 15)), bilinear_by_loops(weighed, (9, 15)), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("interaction", "expected"),
    [("multiply_sigmoid", [-1.0, 2.0]), ("multiply_tanh", [-1.0, 2.0]), ("add_relu", [-1.5, 4.5])],
)
def test_interaction_multiplies_or_adds_the_gate(interaction, expected):
    """Table 4."""
    feedback = IterativeFeedback(CHANNELS, (6,), interaction=interaction)
    assert feedback.modulate(torch.tensor([0.5, 0.5]), torch.tensor([-2.0, 4.0])).tolist() == expected


@torch.no_grad()
def test_multi_range_gates_read_the_prediction_too(maps):
    """Sec. 3.4.2: the prediction, through a 1x1 convolution and resized, beside the output of the block."""
    feedback = MultiRangeFeedback(CHANNELS, (3, 4, 5, 6))
    for conv in (module for module in feedback.modules() if isinstance(module, torch.nn.Conv2d)):
        torch.nn.init.normal_(conv.weight)
    gates = feedback(maps)
    far, gate = feedback.far["3"], feedback.gates["3"]
    joined = torch.cat([maps[3], bilinear_by_loops(conv_by_loops(maps[6], far.weight, far.bias), SIZES[3])], 1)
    weighed = conv_by_loops(average_by_loops(joined), gate.weigh.weight, gate.weigh.bias).sigmoid()
    torch.testing.assert_close(gates[3], bilinear_by_loops(weighed, SIZES[2]), atol=1e-4, rtol=1e-4)
    basic = IterativeFeedback(CHANNELS, (6,))
    basic.gates["6"].load_state_dict(feedback.gates["6"].state_dict())
    torch.testing.assert_close(gates[6], basic(maps)[6])


@torch.no_grad()
def test_routed_and_network_wide_feedback_read_the_prediction(maps):
    """Table 6: each gated block has a basic gate of the prediction, or class probabilities join the image."""
    routed = RoutedFeedback(CHANNELS, (3, 4))
    for conv in (module for module in routed.modules() if isinstance(module, torch.nn.Conv2d)):
        torch.nn.init.normal_(conv.weight)
    gates = routed(maps)
    for i in (3, 4):
        conv = routed.gates[str(i)].weigh
        weighed = conv_by_loops(average_by_loops(maps[6]), conv.weight, conv.bias).sigmoid()
        torch.testing.assert_close(gates[i], bilinear_by_loops(weighed, SIZES[i - 1]), atol=1e-4, rtol=1e-4)
    wide = NetworkWideFeedback(CHANNELS)
    torch.nn.init.normal_(wide.join.weight)
    classes = maps[6].exp() / maps[6].exp().sum(1, keepdim=True)
    joined = torch.cat([maps[0], bilinear_by_loops(classes, SIZES[0])], 1)
    expected = conv_by_loops(joined, wide.join.weight, wide.join.bias)
    torch.testing.assert_close(wide.modulate(wide(maps)[1], maps[0]), expected, atol=1e-4, rtol=1e-4)


def test_iterative_gate_with_a_bottleneck():
    gate = IterativeGate(64, 32, width=8)
    assert gate(torch.randn(1, 64, 4, 4), (4, 4)).shape == (1, 32, 4, 4)
    assert sum(p.numel() for p in gate.parameters()) == 64 * 8 + 8 + 8 * 32 * 9 + 32
