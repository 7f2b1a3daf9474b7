"""Gates against slow loops written from the paper's equations."""

import pytest
import torch
import torch.nn.functional as F

from gatezoo.gates.distributed import ROUTINGS, DistributedFeedback
from gatezoo.gates.modulator import Modulator
from gatezoo.gates.propagator import Propagator


def conv_by_loops(x, weight, bias):
    """Zero-padded convolution of odd kernel, stride 1, as sums over pixels."""
    count, _, height, width = x.shape
    reach = weight.shape[-1] // 2
    out = torch.zeros(count, weight.shape[0], height, width)
    for y in range(height):
        for z in range(width):
            for dy in range(-reach, reach + 1):
                for dz in range(-reach, reach + 1):
                    if 0 <= y + dy < height and 0 <= z + dz < width:
                        out[:, :, y, z] += x[:, :, y + dy, z + dz] @ weight[:, :, dy + reach, dz + reach].T
    return out + bias[:, None, None]


def bilinear_by_loops(x, size):
    """Bilinear resize with pixel centres aligned, as a weighted sum of four pixels each."""
    height, width = x.shape[-2:]
    out = torch.zeros(*x.shape[:2], *size)
    for y in range(size[0]):
        for z in range(size[1]):
            at_y = max((y + 0.5) * height / size[0] - 0.5, 0.0)
            at_z = max((z + 0.5) * width / size[1] - 0.5, 0.0)
            y0, z0 = min(int(at_y), height - 1), min(int(at_z), width - 1)
            y1, z1 = min(y0 + 1, height - 1), min(z0 + 1, width - 1)
            ty, tz = at_y - y0, at_z - z0
            upper = (1 - tz) * x[..., y0, z0] + tz * x[..., y0, z1]
            lower = (1 - tz) * x[..., y1, z0] + tz * x[..., y1, z1]
            out[..., y, z] = (1 - ty) * upper + ty * lower
    return out


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
def test_modulator_is_the_literal_pyramid(bins):
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
def test_what_reaches_a_gate(maps, routing, sources):
    """Table 2: the gate of block 3 sees all maps from its own up, its own alone, or the prediction alone."""
    feedback = DistributedFeedback(CHANNELS, routing=routing)
    for modulator in feedback.modulators.values():
        torch.nn.init.normal_(modulator.weigh.weight)
    before = feedback(maps)[3]
    moved = set()
    for block in range(7):
        changed = [f + (k == block) for k, f in enumerate(maps)]
        if not torch.equal(feedback(changed)[3], before):
            moved.add(block)
    assert moved == sources


@pytest.mark.parametrize("shallowest", range(1, 7))
def test_shallowest(maps, shallowest):
    feedback = DistributedFeedback(CHANNELS, shallowest)
    assert set(feedback(maps)) == set(range(shallowest, 7))
    assert set(feedback.propagators) == {str(k) for k in range(shallowest, 6)}


def test_widths_are_the_authors():
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


def test_refusals():
    with pytest.raises(ValueError, match=f"feedback must be one of {', '.join(ROUTINGS)}; got 'cascad'"):
        DistributedFeedback(CHANNELS, routing="cascad")
    with pytest.raises(ValueError, match=r"shallowest must be a block of this network, 1 \.\. 6; got 7"):
        DistributedFeedback(CHANNELS, shallowest=7)
