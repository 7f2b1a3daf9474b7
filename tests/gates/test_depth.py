"""Depth-aware gates and the losses of depth, each against its equation written out pixel by pixel."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from helpers.randomize import loud
from torch import nn

from gatezoo.gates.depth import (
    DILATIONS,
    GATES,
    AverageGate,
    GatedPooling,
    GroundTruthDepthGate,
    PredictedGate,
    ScaleBranches,
)
from gatezoo.gates.scale_attention import SCALE_GATES
from gatezoo.heads.depth_pooling import PoolingHead
from gatezoo.layers.depth_bins import scale_bins, scale_weights
from gatezoo.losses import DepthLoss
from gatezoo.metrics import DepthMetric

THRESHOLDS = torch.tensor([1.0, 2.0, 4.0, 8.0])


def test_scales_run_from_far_to_near():
    depth = torch.tensor([[[9.0, 8.0, 7.9, 4.0, 3.0, 2.0, 1.5, 1.0, 0.5]]])
    assert scale_bins(depth, THRESHOLDS).flatten().tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4]
    # Of disparity more is nearer.
    assert scale_bins(1 / depth, 1 / THRESHOLDS.flip(0), "disparity").flatten().tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4]
    assert list(DILATIONS) == sorted(DILATIONS) == [1, 2, 4, 8, 16]


def test_unknown_depth_has_no_scale_and_weighs_all_alike():
    depth = torch.tensor([[[math.nan, 0.0, math.inf, 3.0]]])
    assert scale_bins(depth, THRESHOLDS).flatten().tolist() == [-1, -1, -1, 2]
    weights = scale_weights(depth, THRESHOLDS, (1, 4))
    assert torch.equal(weights[..., :3], torch.full((1, 5, 1, 3), 0.2))
    assert weights[0, :, 0, 3].tolist() == [0, 0, 1, 0, 0]


def test_a_given_depth_is_sampled_and_never_mixed():
    depth = torch.full((1, 32, 48), 9.0)
    depth[:, :, 20:] = 0.5
    weights = scale_weights(depth, THRESHOLDS, (4, 6))
    chosen = weights.argmax(1)
    assert set(chosen.unique().tolist()) == {0, 4}
    assert torch.equal(weights.sum(1), torch.ones(1, 4, 6))
    assert torch.equal(weights.max(1).values, torch.ones(1, 4, 6))
    # The centre of cell (r, c) of 8 x 8 pixels is at 8 c + 4.
    assert chosen[0, 0].tolist() == [0, 0, 4, 4, 4, 4]


@torch.no_grad()
@pytest.mark.parametrize("tied", [False, True])
def test_branches_are_the_sum_written_out(tied):
    branches = loud(ScaleBranches(3, (1, 2, 4), tied))
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
def test_a_one_hot_gate_selects_a_branch_and_equal_gates_average():
    branches, x = loud(ScaleBranches(8)), torch.randn(2, 8, 20, 24)
    for k in range(5):
        weights = F.one_hot(torch.full((2, 20, 24), k), 5).permute(0, 3, 1, 2).float()
        assert torch.equal(branches(x, weights), branches.branch(k, x))
    average = GatedPooling(AverageGate(8, 5), branches)(x)[0]
    mean = torch.stack([branches.branch(k, x) for k in range(5)]).mean(0)
    torch.testing.assert_close(average, mean, atol=1e-6, rtol=1e-5)


@torch.no_grad()
def test_tied_branches_are_one_kernel_at_several_dilations():
    branches, x = loud(ScaleBranches(4, tied=True)), torch.randn(1, 4, 40, 40)
    conv, norm, act = branches.convs[0]
    for k, dilation in enumerate(DILATIONS):
        plain = act(norm(F.conv2d(x, conv.weight, padding=dilation, dilation=dilation)))
        assert torch.equal(branches.branch(k, x), plain)


@torch.no_grad()
@pytest.mark.parametrize("gate", GATES)
def test_weights_are_one_in_sum_at_every_pixel(gate):
    scales = 1 if gate == "none" else 5
    x, depth = torch.randn(2, 32, 9, 12) * 20, torch.rand(2, 72, 96) * 10 - 1
    said = GATES[gate](32, scales)(x, scale_weights(depth.clamp(min=0), THRESHOLDS, (9, 12)))
    assert said.weights.shape == (2, scales, 9, 12)
    torch.testing.assert_close(said.weights.sum(1), torch.ones(2, 9, 12))
    assert (said.weights >= 0).all()
    assert (said.logits is not None) == (said.log_depth is not None) == (gate == "predicted")


@torch.no_grad()
def test_an_untrained_gate_says_a_metre_everywhere():
    assert PredictedGate(32, 5)(torch.randn(2, 32, 6, 8)).log_depth.abs().max() < 0.1


@torch.no_grad()
def test_the_softmax_of_the_scales_is_taken_once():
    gate, x = PredictedGate(32, 5).eval(), torch.randn(1, 32, 6, 8)
    nn.init.normal_(gate.scale[1].weight, std=3)
    said = gate(x)
    raw = gate.scale[1](gate.trunk(x))
    assert torch.equal(said.logits, raw)
    assert torch.equal(said.weights, raw.softmax(1))
    assert said.weights.max() > 1.5 / 5, "the weights are too even for a mistake to show"
    depth = torch.rand(1, 6, 8) * 10 + 0.1
    bins = scale_bins(depth, THRESHOLDS)
    loss = DepthLoss(0.0, 1.0)(said.log_depth[:, 0], said.logits, depth, THRESHOLDS)
    picked = -raw.log_softmax(1).gather(1, bins[:, None]).mean()
    assert loss.item() == pytest.approx(picked.item(), rel=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("tied", [False, True])
def test_computing_the_chosen_scale_alone_gives_its_numbers(tied):
    branches = loud(ScaleBranches(6, tied=tied))
    x, choice = torch.randn(2, 6, 21, 30), torch.randint(5, (2, 21, 30))
    choice[1] = 3  # scales that no pixel chose
    weights = F.one_hot(choice, 5).permute(0, 3, 1, 2).float()
    torch.testing.assert_close(branches.chosen(x, choice), branches(x, weights), atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_a_hard_gate_is_hard_in_evaluation_alone():
    pooling = GatedPooling(PredictedGate(32, 5), ScaleBranches(32), hard=True)
    x = torch.randn(1, 32, 9, 12)
    pooling.eval()
    hard, said = pooling(x)
    weights = F.one_hot(said.weights.argmax(1), 5).permute(0, 3, 1, 2).float()
    torch.testing.assert_close(hard, pooling.branches(x, weights), atol=1e-5, rtol=1e-5)
    pooling.hard = False
    assert not torch.allclose(pooling(x)[0], hard, atol=1e-3)
    pooling.gate.eval()
    pooling.hard, pooling.training = True, True
    soft, said = pooling(x)
    assert torch.equal(soft, pooling.branches(x, said.weights))


def test_a_given_gate_has_no_parameters_and_gives_back_what_it_was_given():
    gate, given = GroundTruthDepthGate(32, 5), torch.rand(1, 5, 3, 4)
    assert not list(gate.parameters())
    assert gate(torch.zeros(1, 32, 3, 4), given).weights is given


@torch.no_grad()
@pytest.mark.parametrize("kind", SCALE_GATES)
def test_weights_of_scaled_copies(kind):
    maps = [torch.randn(2, 8, 5, 6) for _ in range(3)]
    weights = SCALE_GATES[kind](8, 3).eval()(maps)
    assert weights.shape == (2, 3, 5, 6)
    torch.testing.assert_close(weights.sum(1), torch.ones(2, 5, 6))
    assert (weights.std() > 0) == (kind == "attention")


@torch.no_grad()
def test_the_recurrent_head_has_a_further_convolution_and_dropout():
    def head(recurrent):
        return PoolingHead(16, 32, 4, GatedPooling(AverageGate(32, 5), ScaleBranches(32)), recurrent).eval()

    x = torch.randn(1, 16, 9, 12)
    for module in (head(False), head(True)):
        loop = module(x)
        assert torch.equal(loop.reduced, module.reduce(x))
        assert torch.equal(loop.feature, module.mix(module.pooling(loop.reduced)[0]))
        assert torch.equal(loop.logits, module.classify(loop.feature))
    assert isinstance(head(False).mix, nn.Identity)
    assert (head(False).drop.p, head(True).drop.p) == (0.0, 0.1)


def test_maps_keep_their_size_through_a_new_head_with_frozen_norms():
    head = PoolingHead(256, 128, 4, GatedPooling(AverageGate(128, 1), ScaleBranches(128, (1,))), recurrent=True).eval()
    x = torch.randn(1, 256, 16, 16).relu()
    loop = head(x)
    size = x.square().mean().sqrt()
    assert 0.5 * size < loop.feature.square().mean().sqrt() < 2 * size


# ---- losses


def test_losses_of_depth_written_out():
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


def test_losses_without_a_known_depth_are_zero_and_have_a_gradient():
    log_depth, logits = torch.randn(1, 8, 8, requires_grad=True), torch.randn(1, 5, 2, 2, requires_grad=True)
    loss = DepthLoss()(log_depth, logits, torch.full((1, 8, 8), math.nan), THRESHOLDS)
    loss.backward()
    assert loss.item() == 0
    assert not log_depth.grad.any()
    assert not logits.grad.any()


def test_logits_of_scales_are_resized_to_the_depth():
    logits, depth = torch.randn(1, 5, 3, 4), torch.rand(1, 24, 32) * 9 + 0.1
    full = F.interpolate(logits, (24, 32), mode="bilinear")
    zeros = torch.zeros(1, 24, 32)
    loss = DepthLoss(0.0, 1.0)
    assert loss(zeros, logits, depth, THRESHOLDS).item() == pytest.approx(loss(zeros, full, depth, THRESHOLDS).item())


# ---- metrics


def test_depth_figures_are_those_of_a_slow_loop():
    generator = torch.Generator().manual_seed(3)
    measured = torch.rand(3, 6, 7, generator=generator) * 9 + 0.5
    predicted = measured * torch.exp(torch.randn(3, 6, 7, generator=generator) * 0.4)
    # On a bound itself a pixel does not count as within it; beyond float32, so that the bounds are exact.
    measured, predicted = measured.double(), predicted.double()
    measured[0, 0, :3], predicted[0, 0, :3] = 1.0, torch.tensor([1.25, 1.25**2, 1.25**3], dtype=torch.float64)
    measured[1, 2], measured[2, 0, 0], measured[2, 0, 1] = math.nan, 0.0, -1.0
    predicted[1, 2] = -5.0  # what lies under the mask may be anything
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
    scores = DepthMetric()
    for one in range(3):
        scores.update(predicted[one], measured[one])
    figures = scores.compute()
    assert figures.pixels == pixels == 3 * 42 - 9
    assert [figures.delta1, figures.delta2, figures.delta3] == [count / pixels for count in within]
    assert figures.abs_rel == pytest.approx(relative / pixels)
    assert figures.rmse == pytest.approx(math.sqrt(squares / pixels))
