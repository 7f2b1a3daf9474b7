"""Test depth-aware gates and losses and metrics of depth against their equations, written out pixel by pixel."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from helpers.randomize import randomize
from torch import nn

import gatezoo
from gatezoo.gates.depth import (
    DEPTH_GATES,
    DILATIONS,
    AverageGate,
    GatedPooling,
    GroundTruthDepthGate,
    PredictedGate,
    ScaleBranches,
)
from gatezoo.gates.scale_attention import SCALE_GATES
from gatezoo.heads.depth_pooling import PoolingHead
from gatezoo.inference.prediction import PassMaps
from gatezoo.layers.conv import ConvNormAct
from gatezoo.layers.depth_bins import scale_bins, scale_weights
from gatezoo.losses import DepthLoss
from gatezoo.metrics import DepthMetric

THRESHOLDS = torch.tensor([1.0, 2.0, 4.0, 8.0])


def test_scale_bins_are_ordered_from_far_to_near():
    depth = torch.tensor([[[9.0, 8.0, 7.9, 4.0, 3.0, 2.0, 1.5, 1.0, 0.5]]])
    assert scale_bins(depth, THRESHOLDS).flatten().tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4]
    # Of disparity more is nearer.
    assert scale_bins(1 / depth, 1 / THRESHOLDS.flip(0), "disparity").flatten().tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4]
    assert list(DILATIONS) == sorted(DILATIONS) == [1, 2, 4, 8, 16]


def test_unknown_depth_has_no_scale_and_equal_weights():
    depth = torch.tensor([[[math.nan, 0.0, math.inf, 3.0]]])
    assert scale_bins(depth, THRESHOLDS).flatten().tolist() == [-1, -1, -1, 2]
    weights = scale_weights(depth, THRESHOLDS, (1, 4))
    assert torch.equal(weights[..., :3], torch.full((1, 5, 1, 3), 0.2))
    assert weights[0, :, 0, 3].tolist() == [0, 0, 1, 0, 0]


def test_scale_weights_sample_depth_without_interpolation():
    depth = torch.full((1, 32, 48), 9.0)
    depth[:, :, 20:] = 0.5
    weights = scale_weights(depth, THRESHOLDS, (4, 6))
    chosen = weights.argmax(1)
    assert set(chosen.unique().tolist()) == {0, 4}
    assert torch.equal(weights.sum(1), torch.ones(1, 4, 6))
    assert torch.equal(weights.max(1).values, torch.ones(1, 4, 6))
    # The center of cell (r, c) of 8 x 8 pixels is at 8 c + 4.
    assert chosen[0, 0].tolist() == [0, 0, 4, 4, 4, 4]


@torch.no_grad()
@pytest.mark.parametrize("tied", [False, True])
def test_scale_branches_equal_the_explicit_sum(tied):
    branches = randomize(ScaleBranches(3, (1, 2, 4), tied))
    assert len(branches.convs) == (1 if tied else 3)
    x, weights = torch.randn(2, 3, 7, 9), torch.rand(2, 3, 7, 9).softmax(1)
    expected = torch.zeros(2, 3, 7, 9)
    for k, dilation in enumerate((1, 2, 4)):
        conv, norm, _ = branches.convs[0 if tied else k]
        for b, o, i, j in np.ndindex(2, 3, 7, 9):
            total = 0.0
            for di in (-1, 0, 1):
                for dj in (-1, 0, 1):
                    y, x_ = i + di * dilation, j + dj * dilation
                    if 0 <= y < 7 and 0 <= x_ < 9:
                        total += float(conv.weight[o, :, di + 1, dj + 1] @ x[b, :, y, x_])
            value = (total - norm.running_mean[o]) / torch.sqrt(norm.running_var[o] + norm.eps)
            expected[b, o, i, j] += weights[b, k, i, j] * max(0.0, float(value * norm.weight[o] + norm.bias[o]))
    torch.testing.assert_close(branches(x, weights), expected, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_one_hot_gate_selects_a_branch_and_equal_weights_average():
    branches, x = randomize(ScaleBranches(8)), torch.randn(2, 8, 20, 24)
    for k in range(5):
        weights = F.one_hot(torch.full((2, 20, 24), k), 5).permute(0, 3, 1, 2).float()
        assert torch.equal(branches(x, weights), branches.branch(k, x))
    average = GatedPooling(AverageGate(8, 5), branches)(x)[0]
    mean = torch.stack([branches.branch(k, x) for k in range(5)]).mean(0)
    torch.testing.assert_close(average, mean, atol=1e-6, rtol=1e-5)


@torch.no_grad()
def test_tied_branches_share_one_kernel_at_several_dilations():
    branches, x = randomize(ScaleBranches(4, tied=True)), torch.randn(1, 4, 40, 40)
    conv, norm, act = branches.convs[0]
    for k, dilation in enumerate(DILATIONS):
        plain = act(norm(F.conv2d(x, conv.weight, padding=dilation, dilation=dilation)))
        assert torch.equal(branches.branch(k, x), plain)


@torch.no_grad()
@pytest.mark.parametrize("gate", DEPTH_GATES)
def test_gate_weights_sum_to_one_at_every_pixel(gate):
    scales = 1 if gate == "none" else 5
    x, depth = torch.randn(2, 32, 9, 12) * 20, torch.rand(2, 72, 96) * 10 - 1
    output = DEPTH_GATES[gate](32, scales)(x, scale_weights(depth.clamp(min=0), THRESHOLDS, (9, 12)))
    assert output.weights.shape == (2, scales, 9, 12)
    torch.testing.assert_close(output.weights.sum(1), torch.ones(2, 9, 12))
    assert (output.weights >= 0).all()
    assert (output.logits is not None) == (output.log_depth is not None) == (gate == "predicted")


@torch.no_grad()
def test_untrained_gate_predicts_a_metre_everywhere():
    assert PredictedGate(32, 5)(torch.randn(2, 32, 6, 8)).log_depth.abs().max() < 0.1


@pytest.mark.parametrize("gate", ["predicted", "attention"])
def test_scale_classifier_drops_a_tenth_of_what_it_reads(gate):
    module, read = DEPTH_GATES[gate](512, 5).train(), []
    module.trunk = nn.Identity()
    module.scale[-1].register_forward_hook(lambda _, inputs, output: read.extend((inputs[0], output)))
    weights = module(torch.ones(4, 32, 40, 40)).weights
    assert read[0].unique().tolist() == pytest.approx([0, 1 / 0.9])
    assert (read[0] == 0).float().mean() == pytest.approx(0.1, abs=0.01)
    assert torch.equal(weights, read[1].softmax(1))


@torch.no_grad()
def test_softmax_of_the_scales_is_applied_once():
    gate, x = PredictedGate(32, 5).eval(), torch.randn(1, 32, 6, 8)
    nn.init.normal_(gate.scale[1].weight, std=3)
    output = gate(x)
    raw = gate.scale[1](gate.trunk(x))
    assert torch.equal(output.logits, raw)
    assert torch.equal(output.weights, raw.softmax(1))
    assert output.weights.max() > 1.5 / 5, "the weights are too even for a mistake to show"
    depth = torch.rand(1, 6, 8) * 10 + 0.1
    bins = scale_bins(depth, THRESHOLDS)
    loss = DepthLoss(0.0, 1.0)(output.log_depth[:, 0], output.logits, depth, THRESHOLDS)
    picked = -raw.log_softmax(1).gather(1, bins[:, None]).mean()
    assert loss.item() == pytest.approx(picked.item(), rel=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("tied", [False, True])
def test_forward_hard_equals_the_branch_of_each_pixel(tied):
    branches = randomize(ScaleBranches(6, tied=tied))
    x, choice = torch.randn(2, 6, 21, 30), torch.randint(5, (2, 21, 30))
    choice[1] = 3  # scales that no pixel chose
    weights = F.one_hot(choice, 5).permute(0, 3, 1, 2).float()
    torch.testing.assert_close(branches.forward_hard(x, choice), branches(x, weights), atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_hard_gate_is_hard_in_evaluation_mode_only():
    pooling = GatedPooling(PredictedGate(32, 5), ScaleBranches(32), hard=True)
    x = torch.randn(1, 32, 9, 12)
    pooling.eval()
    hard, output = pooling(x)
    weights = F.one_hot(output.weights.argmax(1), 5).permute(0, 3, 1, 2).float()
    torch.testing.assert_close(hard, pooling.branches(x, weights), atol=1e-5, rtol=1e-5)
    pooling.hard = False
    assert not torch.allclose(pooling(x)[0], hard, atol=1e-3)
    pooling.gate.eval()
    pooling.hard, pooling.training = True, True
    soft, output = pooling(x)
    assert torch.equal(soft, pooling.branches(x, output.weights))


def test_ground_truth_gate_has_no_parameters_and_returns_its_input():
    gate, given = GroundTruthDepthGate(32, 5), torch.rand(1, 5, 3, 4)
    assert not list(gate.parameters())
    assert gate(torch.zeros(1, 32, 3, 4), given).weights is given


@torch.no_grad()
@pytest.mark.parametrize("kind", SCALE_GATES)
def test_scale_attention_weights_sum_to_one(kind):
    maps = [torch.randn(2, 8, 5, 6) for _ in range(3)]
    weights = SCALE_GATES[kind](8, 3).eval()(maps)
    assert weights.shape == (2, 3, 5, 6)
    torch.testing.assert_close(weights.sum(1), torch.ones(2, 5, 6))
    assert (weights.std() > 0) == (kind == "attention")


@torch.no_grad()
def test_pooling_head_applies_mix_and_dropout():
    def make_head(**options):
        return PoolingHead(16, 32, 4, GatedPooling(AverageGate(32, 5), ScaleBranches(32)), **options).eval()

    x, mix = torch.randn(1, 16, 9, 12), ConvNormAct(32, 32, 1)
    feed_forward, recurrent = make_head(), make_head(mix=mix, dropout=0.1)
    for head in (feed_forward, recurrent):
        output = head(x)
        assert torch.equal(output.reduced, head.reduce(x))
        assert torch.equal(output.feature, head.mix(head.pooling(output.reduced)[0]))
        assert torch.equal(output.logits, head.classify(output.feature))
    assert isinstance(feed_forward.mix, nn.Identity)
    assert recurrent.mix is mix
    assert (feed_forward.drop.p, recurrent.drop.p) == (0.0, 0.1)


def test_recurrent_module_of_a_model_has_a_convolution_and_dropout():
    model = gatezoo.create_model("test_depthgate")
    assert isinstance(model.head.mix, nn.Identity)
    assert isinstance(model.recurrent.mix, ConvNormAct)
    assert model.recurrent.mix.conv.kernel_size == (1, 1)
    assert (model.head.drop.p, model.recurrent.drop.p) == (0.0, 0.1)


def test_untrained_pooling_head_keeps_the_magnitude_of_maps():
    pooling = GatedPooling(AverageGate(128, 1), ScaleBranches(128, (1,)))
    head = PoolingHead(256, 128, 4, pooling, mix=ConvNormAct(128, 128, 1), dropout=0.1).eval()
    x = torch.randn(1, 256, 16, 16).relu()
    output = head(x)
    size = x.square().mean().sqrt()
    assert 0.5 * size < output.feature.square().mean().sqrt() < 2 * size


# ---- losses


def test_depth_loss_equals_the_explicit_sum():
    torch.manual_seed(1)
    log_depth, logits = torch.randn(2, 4, 5, requires_grad=True), torch.randn(2, 5, 4, 5, requires_grad=True)
    depth = torch.rand(2, 4, 5) * 10 + 0.2
    depth[0, 0, 0], depth[0, 1], depth[1, 3, 3] = math.nan, 0.0, math.inf
    squared = crossed = count = 0
    for b, i, j in np.ndindex(2, 4, 5):
        true = depth[b, i, j].item()
        if not (math.isfinite(true) and true > 0):
            continue
        count += 1
        squared += (log_depth[b, i, j].item() - math.log(true)) ** 2
        scale = sum(true < threshold for threshold in THRESHOLDS.tolist())
        scores = logits[b, :, i, j].tolist()
        crossed -= scores[scale] - math.log(sum(math.exp(score) for score in scores))
    loss = DepthLoss(2.0, 0.5)(log_depth, logits, depth, THRESHOLDS)
    assert loss.item() == pytest.approx(2 * squared / count + 0.5 * crossed / count, rel=1e-5)
    loss.backward()
    known = depth.isfinite() & (depth > 0)
    assert torch.equal(log_depth.grad != 0, known)
    assert torch.equal((logits.grad != 0).any(1), known)
    assert log_depth.grad.isfinite().all()


def test_depth_loss_without_a_known_depth_is_zero_and_has_a_gradient():
    log_depth, logits = torch.randn(1, 8, 8, requires_grad=True), torch.randn(1, 5, 2, 2, requires_grad=True)
    loss = DepthLoss()(log_depth, logits, torch.full((1, 8, 8), math.nan), THRESHOLDS)
    loss.backward()
    assert loss.item() == 0
    assert not log_depth.grad.any()
    assert not logits.grad.any()


def test_depth_loss_resizes_logits_to_the_depth():
    logits, depth = torch.randn(1, 5, 3, 4), torch.rand(1, 24, 32) * 9 + 0.1
    full = F.interpolate(logits, (24, 32), mode="bilinear")
    zeros = torch.zeros(1, 24, 32)
    loss = DepthLoss(0.0, 1.0)
    assert loss(zeros, logits, depth, THRESHOLDS).item() == pytest.approx(loss(zeros, full, depth, THRESHOLDS).item())


# ---- metrics


def test_depth_metrics_equal_a_slow_loop():
    generator = torch.Generator().manual_seed(3)
    measured = torch.rand(3, 6, 7, generator=generator) * 9 + 0.5
    predicted = measured * torch.exp(torch.randn(3, 6, 7, generator=generator) * 0.4)
    # On a bound itself a pixel does not count as within it; beyond float32, so that the bounds are exact.
    measured, predicted = measured.double(), predicted.double()
    measured[0, 0, :3], predicted[0, 0, :3] = 1.0, torch.tensor([1.25, 1.25**2, 1.25**3], dtype=torch.float64)
    measured[1, 2], measured[2, 0, 0], measured[2, 0, 1] = math.nan, 0.0, -1.0
    predicted[1, 2] = -5.0  # masked values may be anything
    within, pixels, relative, squares = [0, 0, 0], 0, 0.0, 0.0
    for p, m in zip(predicted.flatten().tolist(), measured.flatten().tolist()):
        if not m > 0:
            continue
        pixels += 1
        ratio = max(p / m, m / p)
        for number, bound in enumerate((1.25, 1.25**2, 1.25**3)):
            within[number] += ratio < bound
        relative += abs(p - m) / m
        squares += (p - m) ** 2
    metric = DepthMetric().start(3)
    for one in range(3):
        metric.update(PassMaps(torch.zeros(6, 7), depth=predicted[one]), {"depth": measured[one]})
    result = metric.compute()["depth"]
    assert result.pixels == pixels == 3 * 42 - 9
    assert [result.delta1, result.delta2, result.delta3] == [count / pixels for count in within]
    assert result.abs_rel == pytest.approx(relative / pixels)
    assert result.rmse == pytest.approx(math.sqrt(squares / pixels))
