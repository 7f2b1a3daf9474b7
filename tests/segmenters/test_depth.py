"""Identities of the networks with depth-aware gating. No data, no trained weights."""

import math

import pytest
import torch
import torch.nn.functional as F
from helpers.randomize import randomize
from torch import nn

import gatezoo
from gatezoo.factory import load_checkpoint
from gatezoo.inference.predictor import Predictor
from gatezoo.layers.depth_bins import scale_weights
from gatezoo.layers.resize import resize_to
from gatezoo.losses import DepthLoss
from gatezoo.segmenters.depth import RecurrentDepthSegmenter
from gatezoo.training.objectives import SemanticObjective
from gatezoo.training.run_folder import RunFolder

SIZE = (65, 97)


def make(name="test_depthgate", **keywords):
    torch.manual_seed(0)
    return randomize(gatezoo.create_model(name, num_classes=5, **keywords))


@pytest.fixture
def image():
    return torch.randn(2, 3, *SIZE)


@pytest.fixture
def depth():
    depth = torch.rand(2, *SIZE) * 6 + 0.5
    depth[0, :20] = math.nan
    return depth


@torch.no_grad()
@pytest.mark.parametrize("gate", ["predicted", "given", "attention", "average", "none"])
def test_recurrent_network_without_loops_is_feed_forward_bit_for_bit(gate, image, depth):
    given = {"depth": depth} if gate == "given" else {}
    recurrent, plain = make(gate=gate, loops=2), make(gate=gate, loops=0)
    assert not hasattr(plain, "iterations")
    plain.load_state_dict({k: v for k, v in recurrent.state_dict().items() if not k.startswith("recurrent.")})
    assert torch.equal(recurrent(image, iterations=1, **given), plain(image, **given))
    assert not torch.equal(recurrent(image, **given), plain(image, **given))


@pytest.mark.parametrize("feedback", ["feature", "scores"])
def test_loops_and_their_gradients_equal_the_written_equations(feedback, image):
    model, image = make(feedback=feedback).double(), image.double()
    (x,) = model.backbone(image)

    def pool(pooling, r):
        trunk = pooling.gate.trunk(r)
        logits = pooling.gate.scale(trunk)
        weights = logits.exp() / logits.exp().sum(1, keepdim=True)
        maps = [pooling.branches.convs[k] for k in range(5)]
        total = 0
        for k, (conv, norm, act) in enumerate(maps):
            total = total + weights[:, k : k + 1] * act(norm(F.conv2d(r, conv.weight, padding=2**k, dilation=2**k)))
        return total, pooling.gate.log_depth(trunk)

    r = model.head.reduce(x)
    feature, log_depth = pool(model.head.pooling, r)
    logits = model.head.classify(feature)
    expected, depths = [logits], [log_depth]
    for _ in range(3):
        back = feature if feedback == "feature" else logits.softmax(1)
        pooled, log_depth = pool(model.recurrent.pooling, model.recurrent.reduce(torch.cat([r, back], 1)))
        feature = model.recurrent.mix(pooled)
        logits = model.recurrent.classify(feature)
        expected.append(logits)
        depths.append(log_depth)
    outputs = model.outputs(image, iterations=4)
    for found, coarse in zip(outputs.iterations, expected, strict=True):
        torch.testing.assert_close(found, resize_to(coarse, SIZE), atol=1e-9, rtol=1e-9)
    for found, coarse in zip(outputs.log_depth, depths, strict=True):
        torch.testing.assert_close(found, resize_to(coarse, SIZE)[:, 0], atol=1e-9, rtol=1e-9)
    totals = [
        sum(resize_to(x, SIZE).square().mean() for x in maps)
        for maps in ([*outputs.iterations, *(x[:, None] for x in outputs.log_depth)], [*expected, *depths])
    ]
    gradients = [torch.autograd.grad(total, list(model.parameters())) for total in totals]
    torch.testing.assert_close(*gradients, atol=1e-12, rtol=1e-8)


@torch.no_grad()
def test_forward_iterate_and_outputs_agree(image):
    model = make()
    assert model.iterations == 3
    outputs = model.outputs(image, iterations=4)
    for passes, (step, kept) in enumerate(zip(model.iterate(image, 4), outputs.iterations, strict=True), start=1):
        assert torch.equal(step, kept)
        assert torch.equal(step, model(image, iterations=passes))
    assert torch.equal(outputs.logits, outputs.iterations[-1])
    assert torch.equal(model(image), outputs.iterations[2])
    assert [d.shape for d in outputs.log_depth] == [(2, *SIZE)] * 4
    assert [s.shape for s in outputs.scales] == [s.shape for s in outputs.scale_logits] == [(2, 5, 9, 13)] * 4
    for weights, logits in zip(outputs.scales, outputs.scale_logits):
        assert torch.equal(weights, logits.softmax(1))
        torch.testing.assert_close(weights.sum(1), torch.ones(2, 9, 13))
    model.iterations = 4
    assert torch.equal(model(image), outputs.logits)
    with pytest.raises(ValueError, match="iterations must be a whole number of passes, 1 to 100; got 0"):
        model(image, iterations=0)


@torch.no_grad()
def test_backbone_runs_once_and_loops_run_on_demand(image, monkeypatch):
    model, runs = make(), []
    for part in ("backbone", "recurrent"):
        module = getattr(model, part)
        forward = module.forward
        monkeypatch.setattr(module, "forward", lambda *a, part=part, f=forward: (runs.append(part), f(*a))[1])
    model(image, iterations=4)
    assert (runs.count("backbone"), runs.count("recurrent")) == (1, 3)
    runs.clear()
    steps = model.iterate(image, iterations=4)
    next(steps), next(steps)
    assert (runs.count("backbone"), runs.count("recurrent")) == (1, 1)


def test_parameters_do_not_depend_on_the_loops():
    shapes = [{k: v.shape for k, v in make(loops=loops).state_dict().items()} for loops in (1, 2, 3)]
    assert shapes[0] == shapes[1] == shapes[2]
    assert isinstance(make(loops=1), RecurrentDepthSegmenter)
    assert gatezoo.create_model("test_depthgate", loops=2, iterations=5).iterations == 5


@pytest.mark.parametrize("gate", ["predicted", "given", "attention", "average", "none"])
def test_every_parameter_gets_a_gradient(gate, image, depth):
    model = make(gate=gate).train()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.ones_(module.weight)
    given = {"depth": depth} if gate == "given" else {}
    outputs = model.outputs(image, **given)
    total = sum(logits.square().mean() for logits in outputs.iterations)
    (total + sum(log_depth.square().mean() for log_depth in outputs.log_depth)).backward()
    assert [name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0] == []


@torch.no_grad()
def test_given_depth_chooses_the_branch(image):
    """A depth that is the same everywhere makes the network the one with that branch alone."""
    model = make("test_depthgate_given")
    low, *_, high = model.thresholds.tolist()
    for metres, scale in ((high + 1, 0), (low / 2, 4)):
        alone = make("test_depthgate_given")
        for pooling in (alone.head.pooling, alone.recurrent.pooling):
            pooling.branches.forward = lambda x, weights, b=pooling.branches, k=scale: b.branch(k, x)
        constant = torch.full((2, *SIZE), metres)
        assert torch.equal(model(image, depth=constant), alone(image, depth=constant))
    weights = model.outputs(image, depth=torch.full((2, *SIZE), high + 1)).scales
    assert len(weights) == 2
    assert all(torch.equal(w.argmax(1), torch.zeros(2, 9, 13, dtype=torch.long)) for w in weights)


@torch.no_grad()
def test_missing_depth_averages(image, depth):
    model = make("test_depthgate_given")
    weights = model.outputs(image, depth=depth).scales[0]
    assert torch.equal(weights[0, :, :2], torch.full((5, 2, 13), 0.2))
    assert torch.equal(weights[1].max(0).values, torch.ones(9, 13))
    assert torch.equal(weights, scale_weights(depth, model.thresholds, (9, 13)))
    assert torch.equal(model(image, depth=depth), model(image, depth=depth.nan_to_num(0.0)))
    model.train()
    assert torch.equal(
        model.outputs(image, depth=torch.full_like(depth, math.nan)).scales[1], torch.full((2, 5, 9, 13), 0.2)
    )


@torch.no_grad()
def test_disparity_is_the_inverse_of_depth(image, depth):
    metres = make("test_depthgate_given", thresholds=(1.0, 2.0, 3.0, 4.0))
    inverse = make("test_depthgate_given", unit="disparity", thresholds=(100 / 4, 100 / 3, 100 / 2, 100.0))
    inverse.load_state_dict({**metres.state_dict(), "thresholds": inverse.thresholds})
    assert torch.equal(inverse(image, depth=100 / depth), metres(image, depth=depth))
    # The readers give metres, and a training sets the thresholds by them.
    inverse.set_thresholds((1.0, 2.0, 3.0, 4.0))
    assert inverse.thresholds.tolist() == pytest.approx([1 / 4, 1 / 3, 1 / 2, 1.0])
    assert torch.equal(inverse(image, **inverse.extra_inputs({"depth": depth})), metres(image, depth=depth))


@torch.no_grad()
def test_depth_is_padded_as_missing_for_a_backbone_that_pads():
    model = make("test_depthgate_given", backbone="hrnet_w18_small", output_stride=32).eval()
    image, depth = torch.randn(1, 3, 40, 50), torch.rand(1, 40, 50) * 5 + 0.5
    padded = F.pad(image, (0, 14, 0, 24))
    assert torch.equal(
        model(image, depth=depth), model(padded, depth=F.pad(depth, (0, 14, 0, 24), value=0))[..., :40, :50]
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: None, r"depth must be given to a network gated by it; got None: call model\(image, depth=\.\.\.\)"),
        (lambda d: d[:, ::2], r"depth must be \(B, H, W\) as the images are, \(2, 65, 97\); got \(2, 33, 97\)"),
        (lambda d: d[:, None], r"got \(2, 1, 65, 97\)"),
        (lambda d: (1000 * d.nan_to_num()).to(torch.int32), "must be floating point, in metres; got torch.int32"),
        (lambda d: 1000 * d, r"depth must be in metres, as the thresholds 1\.8 \.\. 3\.8 are; its median is 3"),
        (lambda d: d / 1000, r"its median is 0\.00"),
        (lambda d: d - 2, "depth must not be negative; got -1.*: set pixels without a measurement to NaN or 0"),
        (lambda d: torch.full_like(d, math.nan), r"depth must be known at one pixel at least; all of it is missing"),
        (torch.zeros_like, "all of it is missing"),
    ],
)
def test_depth_values_are_checked(change, message, image, depth):
    with pytest.raises(ValueError, match=message):
        make("test_depthgate_given")(image, depth=change(depth))


def test_depth_is_refused_by_a_network_that_takes_none(image, depth):
    for gate in ("predicted", "attention", "average"):
        with pytest.raises(ValueError, match="depth must be left out: this network is not gated by a given depth"):
            make(gate=gate)(image, depth=depth)


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        (dict(gate="depth"), "gate must be one of predicted, given, attention, average, none; got 'depth'"),
        (dict(feedback="logits"), "feedback must be one of feature, scores; got 'logits'"),
        (dict(unit="feet"), "unit must be one of metres, disparity; got 'feet'"),
        (dict(unit="disparity"), "unit must be 'metres' for a predicted depth; got 'disparity': pass gate='given'"),
        (dict(loops=-1), "loops must be a whole number from 0 to 99; got -1"),
        (dict(loops=0, iterations=2), "iterations must be 1 for a network with loops=0; got 2: pass loops=1"),
        (dict(width=8), "width must be at least 16"),
        (dict(gate="average", hard=True), "hard must be of a gate that weights scales; got gate='average'"),
        (dict(thresholds=(1, 2, 3)), r"thresholds must be 4 rising positive depths, .*; got \(1, 2, 3\)"),
        (dict(thresholds=(1, 3, 2, 4)), "thresholds must be 4 rising"),
        (dict(thresholds=(0, 1, 2, 3)), "thresholds must be 4 rising"),
    ],
)
def test_keywords_are_checked(keywords, message):
    with pytest.raises(ValueError, match=message):
        gatezoo.create_model("test_depthgate", **keywords)


def test_auto_iterations_stop_when_loops_repeat_the_first(monkeypatch):
    model, image = make(), torch.randint(256, (3, 64, 64), dtype=torch.uint8)
    batch = model.make_normalize()(image[None])
    monkeypatch.setattr(model.recurrent, "forward", lambda x, given: model.head(model.backbone(batch)[0]))
    assert Predictor(model, iterations="auto", tolerance=0.0).predict(image).iterations == 2


def save(model, folder):
    folder.mkdir()
    RunFolder(folder, resume=False, metric_names=("miou",)).save({}, model.state_dict(), {"history": []}, best=False)
    return folder / "last.safetensors"


@torch.no_grad()
def test_stage_starts_from_the_weights_of_the_stage_before(image, tmp_path):
    baseline = make(gate="none", loops=0)
    path = save(baseline, tmp_path / "baseline")
    average = gatezoo.create_model("test_depthgate", num_classes=5, gate="average", loops=0).eval()
    load_checkpoint(average, path, strict=False)
    kernels = [conv[0].weight for conv in average.head.pooling.branches.convs]
    assert all(torch.equal(kernel, baseline.head.pooling.branches.convs[0][0].weight) for kernel in kernels)
    assert len({kernel.data_ptr() for kernel in kernels}) == 5, "branches would learn as one"

    predicted = make(loops=0)
    recurrent = gatezoo.create_model("test_depthgate", num_classes=5, loops=2).eval()
    report = load_checkpoint(recurrent, save(predicted, tmp_path / "gating"), strict=False)
    zero, first, second = recurrent.iterate(image)
    assert torch.equal(zero, predicted(image))
    torch.testing.assert_close(first, zero, atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(second, zero, atol=1e-3, rtol=1e-3)
    assert all(name.startswith("recurrent.") for name in report.missing)
    assert recurrent.recurrent.classify.weight.data_ptr() != recurrent.head.classify.weight.data_ptr()

    further = gatezoo.create_model("test_depthgate", num_classes=5, loops=3).eval()
    nn.init.normal_(recurrent.recurrent.classify.weight)
    load_checkpoint(further, save(recurrent, tmp_path / "loop"), strict=False)
    assert torch.equal(further(image, iterations=3), recurrent(image))


def test_grad_checkpointing_gives_the_same_gradients(image):
    model = make().train()
    for dropout in (m for m in model.modules() if isinstance(m, nn.Dropout)):
        dropout.p = 0.0
    found = []
    for recompute in (False, True):
        model.zero_grad()
        model.set_grad_checkpointing(recompute)
        model(image).square().mean().backward()
        found.append({name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None})
    assert found[0].keys() == found[1].keys()
    for name, gradient in found[0].items():
        torch.testing.assert_close(found[1][name], gradient, atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_multiscale_weights_scaled_copies(image):
    model = make("test_depthgate_multiscale")
    features, logits = [], []
    for size in (SIZE, (48, 72), (32, 48)):
        loop = model.head(*model.backbone(resize_to(image, size)))
        features.append(resize_to(loop.feature, (9, 13)))
        logits.append(resize_to(loop.logits, (9, 13)))
    weights = model.gate.weigh(torch.cat(features, 1)).softmax(1)
    expected = sum(weights[:, s, None] * logits[s] for s in range(3))
    outputs = model.outputs(image)
    torch.testing.assert_close(outputs.logits, resize_to(expected, SIZE), atol=1e-5, rtol=1e-5)
    assert torch.equal(model(image), outputs.logits)
    assert torch.equal(outputs.scales[0], weights)
    average = make("test_depthgate_multiscale", combine="average", scales=(1.0, 0.5))
    logits = [average.head(*average.backbone(resize_to(image, size))).logits for size in (SIZE, (32, 48))]
    mean = (logits[0] + resize_to(logits[1], (9, 13))) / 2
    torch.testing.assert_close(average(image), resize_to(mean, SIZE), atol=1e-5, rtol=1e-5)


# ---- scaled copies, gated by depth


@torch.no_grad()
@pytest.mark.parametrize("combine", ["predicted", "given"])
def test_one_scaled_copy_gated_by_depth_is_the_baseline_bit_for_bit(combine, image, depth):
    gated = make("test_depthgate_multiscale", combine=combine, scales=(1.0,))
    plain = make(gate="none", loops=0)
    plain.load_state_dict({k: v for k, v in gated.state_dict().items() if not k.startswith("gate.")})
    assert torch.equal(gated(image, **({"depth": depth} if combine == "given" else {})), plain(image))


@torch.no_grad()
def test_given_depth_reads_far_pixels_from_the_largest_copy(image):
    """Against a loop over pixels; unknown pixels read the mean of all copies."""
    model = make("test_depthgate_multiscale", combine="given", scales=(1.0, 0.75, 0.5), thresholds=(2.0, 5.0))
    copies = []
    for size in (SIZE, (48, 72), (32, 48)):
        (x,) = model.backbone(resize_to(image, size))
        copies.append(resize_to(model.head(x).logits, (9, 13)))
    depth = torch.tensor([6.0, 5.0, 4.9, 2.0, 1.9, 0.1, math.nan, 0.0])[torch.randint(8, (2, *SIZE))]
    sampled = F.interpolate(depth[:, None], (9, 13), mode="nearest-exact")[:, 0]
    expected = torch.zeros_like(copies[0])
    for b in range(2):
        for y in range(9):
            for x in range(13):
                metres, choices = sampled[b, y, x].item(), torch.stack([copy[b, :, y, x] for copy in copies])
                if not metres > 0:
                    expected[b, :, y, x] = choices.mean(0)
                else:
                    expected[b, :, y, x] = choices[0 if metres >= 5 else 1 if metres >= 2 else 2]
    outputs = model.outputs(image, depth=depth)
    torch.testing.assert_close(outputs.logits, resize_to(expected, SIZE), atol=1e-5, rtol=1e-5)
    assert torch.equal(model(image, depth=depth), outputs.logits)
    for metres, copy in ((9.0, copies[0]), (3.0, copies[1]), (1.0, copies[2])):
        assert torch.equal(model(image, depth=torch.full((2, *SIZE), metres)), resize_to(copy, SIZE))
    with pytest.raises(ValueError, match="depth must be given to a network gated by it"):
        model(image)


@torch.no_grad()
def test_predicted_depth_gates_scaled_copies_by_the_equations(image):
    model = make("test_depthgate_multiscale", combine="predicted")
    heads = [model.head(*model.backbone(resize_to(image, size))) for size in (SIZE, (48, 72), (32, 48))]
    trunk = model.gate.trunk(heads[0].reduced)
    weights = model.gate.scale(trunk).softmax(1)
    expected = sum(weights[:, s, None] * resize_to(heads[s].logits, (9, 13)) for s in range(3))
    outputs = model.outputs(image)
    torch.testing.assert_close(outputs.logits, resize_to(expected, SIZE), atol=1e-5, rtol=1e-5)
    assert torch.equal(outputs.scales[0], weights)
    torch.testing.assert_close(outputs.log_depth[0], resize_to(model.gate.log_depth(trunk), SIZE)[:, 0])
    assert [tuple(gate.shape) for gate in outputs.gates[0].values()] == [(2, 1, 9, 13)] * 3
    assert torch.equal(model(image), outputs.logits)
    assert {"depth"} <= model.capabilities


@torch.no_grad()
def test_depth_teaches_the_gate_of_scaled_copies():
    model = make("test_depthgate_multiscale", combine="predicted").eval()
    images = torch.randint(256, (2, 3, *SIZE), dtype=torch.uint8)
    labels, depth = torch.randint(5, (2, *SIZE)), torch.rand(2, *SIZE) * 6 + 0.5
    outputs = model.outputs(model.make_normalize()(images))
    depth_loss = DepthLoss(1.0, 0.5)
    taught = depth_loss(outputs.log_depth[0], outputs.scale_logits[0], depth, model.thresholds)
    assert taught > 0
    found = task_of(model, depth_loss=depth_loss).eval()(images, labels, depth)
    torch.testing.assert_close(found, F.cross_entropy(outputs.logits, labels) + taught)


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        (dict(combine="average", thresholds=(1.0, 2.0)), "thresholds and unit must be of a depth; got them for"),
        (dict(combine="given", scales=(0.5, 1.0)), r"scales must fall, .* got \(0.5, 1.0\): sort them"),
        (dict(combine="predicted", unit="disparity"), "unit must be 'metres' .* pass combine='given'"),
        (dict(combine="given", thresholds=(1.0,)), "thresholds must be 2 rising positive depths"),
        (dict(combine="depth"), "combine must be one of average, attention, predicted, given; got 'depth'"),
    ],
)
def test_keywords_of_scaled_copies_that_do_not_fit(keywords, message):
    with pytest.raises(ValueError, match=message):
        gatezoo.create_model("test_depthgate_multiscale", **keywords)


def test_thresholds_are_saved_with_the_weights(tmp_path):
    model = gatezoo.create_model("test_depthgate", num_classes=5)
    model.set_thresholds((0.5, 1.5, 2.5, 3.5))
    gatezoo.save_pretrained(model, tmp_path / "model")
    again = gatezoo.from_pretrained(tmp_path / "model")
    assert again.thresholds.tolist() == [0.5, 1.5, 2.5, 3.5]
    assert again.iterations == 3
    fewer = gatezoo.create_model(f"local-dir:{tmp_path / 'model'}", pretrained=True, iterations=1)
    assert fewer.iterations == 1


# ---- the task that a training wraps


def task_of(model, **keywords):
    return SemanticObjective(model, model.make_normalize(), nn.CrossEntropyLoss(), **keywords)


def test_loss_sums_over_the_loops(image, depth):
    model = make()
    pixels, labels = torch.randint(256, (2, 3, *SIZE), dtype=torch.uint8), torch.randint(5, (2, *SIZE))
    outputs, loss = model.outputs(model.make_normalize()(pixels)), DepthLoss(0.7, 0.3)
    labeled = [F.cross_entropy(logits, labels) for logits in outputs.iterations]
    depth_losses = [
        loss(d, s, depth, model.thresholds) for d, s in zip(outputs.log_depth, outputs.scale_logits, strict=True)
    ]
    task = task_of(model, iteration_loss_weight=0.4, seg_loss_weight=0.6, depth_loss=loss)
    each = [0.6 * a + b for a, b in zip(labeled, depth_losses)]
    torch.testing.assert_close(task(pixels, labels, depth), 0.4 * (each[0] + each[1]) + each[2])
    last = task_of(model, depth_loss=loss)(pixels, labels, depth)
    torch.testing.assert_close(last, labeled[2] + depth_losses[2])
    torch.testing.assert_close(task_of(model)(pixels, labels, depth), labeled[2])
    torch.testing.assert_close(task_of(model, iteration_loss_weight=1.0)(pixels, labels), sum(labeled))
    torch.testing.assert_close(
        task_of(model, seg_loss_weight=0.0, depth_loss=loss)(pixels, labels, depth), depth_losses[2]
    )


def test_given_depth_reaches_the_network_through_the_task(depth):
    model = make("test_depthgate_given")
    pixels, labels = torch.randint(256, (2, 3, *SIZE), dtype=torch.uint8), torch.randint(5, (2, *SIZE))
    expected = F.cross_entropy(model(model.make_normalize()(pixels), depth=depth), labels)
    torch.testing.assert_close(task_of(model)(pixels, labels, depth), expected)
    with pytest.raises(
        ValueError, match="data must have depth for a network gated by a given depth; these have none: load depth too"
    ):
        task_of(model)(pixels, labels)


def test_depth_loss_requires_depth():
    for gate in ("attention", "given", "average", "none"):
        with pytest.raises(ValueError, match="a depth loss needs a network that predicts depth"):
            task_of(make(gate=gate), depth_loss=DepthLoss())
    pixels, labels = torch.randint(256, (1, 3, *SIZE), dtype=torch.uint8), torch.randint(5, (1, *SIZE))
    with pytest.raises(ValueError, match="a depth loss needs data with depth; these have none"):
        task_of(make(), depth_loss=DepthLoss())(pixels, labels)


@torch.no_grad()
def test_gates_of_a_pass_are_the_scale_weights():
    outputs = gatezoo.create_model("test_depthgate").eval().outputs(torch.randn(1, 3, 64, 96))
    assert len(outputs.gates) == len(outputs.scales) > 1
    for gates, weights in zip(outputs.gates, outputs.scales, strict=True):
        assert sorted(gates) == [1, 2, 3, 4, 5]
        for scale, gate in gates.items():
            assert torch.equal(gate, weights[:, scale - 1 : scale])
