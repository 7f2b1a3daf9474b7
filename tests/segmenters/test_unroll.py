"""Both orders of an unroll against loops that leave nothing out, and the identities of RIGNet."""

import pytest
import torch
from torch import nn

import gatezoo
from gatezoo.gates.base import Feedback
from gatezoo.gates.iterative import IterativeGate, MultiRangeFeedback
from gatezoo.model_info import effective_depth, on_meta
from gatezoo.segmenters.unroll import BlockChain, parallel, sequential
from gatezoo.utils.autograd import count_weighted_layers


def rignet(loud=True, **keywords):
    """A small RIGNet whose gates differ from place to place."""
    model = gatezoo.create_model("test_rignet", **keywords).eval()
    for module in model.feedback.modules():
        if loud and isinstance(module, nn.Conv2d):
            nn.init.normal_(module.weight, std=0.3)
            nn.init.normal_(module.bias)
    return model


def blocks_of(model):
    return [lambda x, i=i: model.backbone.run(i, x) for i in range(1, len(model.backbone) + 1)] + [model.head]


def resized(maps, image):
    return nn.functional.interpolate(maps, image.shape[-2:], mode="bilinear")


def parallel_by_loops(model, image, iterations):
    """Every block runs in every pass; each gate is asked for alone."""
    maps = [image]
    for block in blocks_of(model):
        maps.append(block(maps[-1]))
    for _ in range(iterations - 1):
        gates, fresh = model.feedback(maps), [image]
        for i, block in enumerate(blocks_of(model), start=1):
            fresh.append(block(model.feedback.modulate(gates[i], fresh[-1]) if i in gates else fresh[-1]))
        maps = fresh
    return resized(maps[-1], image)


def sequential_by_loops(model, image, iterations):
    """y = f_i(gate_i(y) * x) repeated ui - 1 times with the original x, block after block."""
    x = image
    for i, block in enumerate(blocks_of(model), start=1):
        y = block(x)
        if i in model.feedback.blocks:
            for _ in range(iterations - 1):
                gate = model.feedback.gates[str(i)](y, x.shape[-2:])
                y = block(gate * x)
        x = y
    return resized(x, image)


BLOCKS = [(-1,), (-2, -1), (-3, -2, -1), (2, 3, 4, 5, 6), None, (4, 5), (1,)]


@torch.no_grad()
@pytest.mark.parametrize("blocks", BLOCKS, ids=str)
@pytest.mark.parametrize("unroll", ["su", "pu", "pf"])
def test_unroll_equals_its_loop(unroll, blocks):
    model = rignet(unroll=unroll, blocks=blocks)
    image = torch.randn(1, 3, 64, 96)
    loop = sequential_by_loops if unroll == "su" else parallel_by_loops
    outputs = [model(image, iterations=iterations) for iterations in (1, 2, 4)]
    for iterations, logits in zip((1, 2, 4), outputs):
        torch.testing.assert_close(logits, loop(model, image, iterations), atol=1e-5, rtol=1e-5)
    assert not torch.equal(outputs[0], outputs[1])


@pytest.mark.parametrize("unroll", ["su", "pu", "pf"])
def test_gradients_of_an_unroll_are_those_of_its_loop(unroll):
    """Through the outputs that the gates are made of, too."""
    model, image = rignet(unroll=unroll).double(), torch.randn(1, 3, 64, 64, dtype=torch.float64)
    loop = sequential_by_loops if unroll == "su" else parallel_by_loops
    parameters = list(model.parameters())
    found = torch.autograd.grad(model(image, iterations=3).square().mean(), parameters)
    expected = torch.autograd.grad(loop(model, image, 3).square().mean(), parameters)
    torch.testing.assert_close(found, expected, atol=1e-12, rtol=1e-8)


@torch.no_grad()
@pytest.mark.parametrize("unroll", ["su", "pu", "pf"])
def test_one_iteration_is_the_plain_network_bit_for_bit(unroll):
    gated = rignet(unroll=unroll)
    plain = gatezoo.create_model("test_fcn").eval()
    plain.load_state_dict({k: v for k, v in gated.state_dict().items() if not k.startswith("feedback.")})
    image = torch.randn(2, 3, 65, 97)
    assert torch.equal(gated(image, iterations=1), plain(image))


@torch.no_grad()
def test_sequential_equals_parallel_if_only_the_last_block_is_gated():
    image = torch.randn(1, 3, 64, 64)
    su, pu = (rignet(unroll=unroll, blocks=(-1,)) for unroll in ("su", "pu"))
    pu.load_state_dict(su.state_dict())
    for iterations in (1, 2, 5):
        assert torch.equal(su(image, iterations=iterations), pu(image, iterations=iterations))
    for early, late in zip(su.iterate(image, iterations=4), pu.iterate(image, iterations=4), strict=True):
        assert torch.equal(early, late)
    other = rignet(unroll="su", blocks=(-2, -1))
    same = rignet(unroll="pu", blocks=(-2, -1))
    same.load_state_dict(other.state_dict())
    assert not torch.equal(other(image, iterations=2), same(image, iterations=2))


@torch.no_grad()
@pytest.mark.parametrize("unroll", ["su", "pu", "pf"])
def test_open_gates_change_nothing(unroll, monkeypatch):
    model = rignet(unroll=unroll)
    image = torch.randn(1, 3, 64, 80)
    once = model(image, iterations=1)
    monkeypatch.setattr(IterativeGate, "forward", lambda self, output, size: output.new_ones(()))
    for iterations in (2, 4):
        assert torch.equal(model(image, iterations=iterations), once)


@pytest.mark.parametrize("unroll", ["su", "pu", "pf"])
@pytest.mark.parametrize("interaction", ["multiply_sigmoid", "multiply_tanh", "add_relu"])
def test_gates_start_near_identity(unroll, interaction):
    """Open where they multiply, zero where they add: two iterations start near one."""
    model = rignet(loud=False, unroll=unroll, interaction=interaction)
    outputs = model.outputs(torch.randn(1, 3, 64, 64), iterations=2)
    low, high = {"multiply_sigmoid": (0.94, 0.965), "multiply_tanh": (0.98, 1), "add_relu": (0, 0.1)}[interaction]
    for gate in outputs.gates[-1].values():
        assert low <= gate.min() <= gate.max() <= high


@pytest.mark.parametrize("unroll", ["su", "pu", "pf"])
def test_gradients_reach_every_gate_from_two_iterations_on(unroll):
    model = rignet(unroll=unroll).train()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.ones_(module.weight)  # timm starts the last norm of a residual branch at 0
    image = torch.randn(2, 3, 64, 64)
    model(image, iterations=2).square().mean().backward()
    assert [name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0] == []
    model.zero_grad()
    model(image, iterations=1).square().mean().backward()
    assert all((p.grad is None) == name.startswith("feedback.") for name, p in model.named_parameters())


@torch.no_grad()
def test_sequential_unroll_yields_repetitions_of_the_last_block():
    image = torch.randn(1, 3, 64, 64)
    model = rignet(unroll="su", blocks=(-2, -1))
    passes = model.outputs(image, iterations=3)
    assert len(passes.iterations) == 3
    assert [sorted(gates) for gates in passes.gates] == [[5], [5, 6], [5, 6]]
    assert len(rignet(unroll="su", blocks=(4, 5)).outputs(image, iterations=3).iterations) == 1


@torch.no_grad()
@pytest.mark.parametrize(("feedback", "blocks"), [("network", None), ("network_gated", None), ("stage", (-3, -2, -1))])
def test_alternative_feedback_reads_the_prediction(feedback, blocks):
    model = rignet(feedback=feedback, unroll="pu", blocks=blocks)
    image = torch.randn(1, 3, 64, 96)
    torch.testing.assert_close(model(image, iterations=3), parallel_by_loops(model, image, 3), atol=1e-5, rtol=1e-5)
    maps = [image, *model.backbone(image)]
    maps.append(model.head(maps[-1]))
    before = model.feedback(maps)
    assert sorted(before) == ([4, 5, 6] if feedback == "stage" else [1])
    for block in range(6):
        changed = [f + (k == block) for k, f in enumerate(maps)]
        assert all(torch.equal(gate, before[i]) for i, gate in model.feedback(changed).items())
    changed = [*maps[:-1], maps[-1] * 2]
    assert not any(torch.equal(gate, before[i]) for i, gate in model.feedback(changed).items())


@torch.no_grad()
def test_network_wide_recurrence_starts_as_the_plain_network():
    model = rignet(loud=False, feedback="network", unroll="pu")
    image = torch.randn(1, 3, 64, 64)
    assert torch.equal(model(image, iterations=3), model(image, iterations=1))


@pytest.mark.parametrize(
    ("name", "depths"),
    [
        # ResNet-50 and a classifier are 50 layers, blocks 4 .. 6 of them 18 + 9 + 1 (Sec. 3.3).
        ("rignet_r50_pu", (50, 50 + 18, 50 + 5 * 18)),
        ("rignet_r50_su", (50, 50 + 28, 50 + 5 * 28)),
        # The prediction joins every gate, or is the only input of one: a pass adds all blocks from there on.
        ("rignet_r101_pf", (101, 2 * 101, 6 * 101)),
        ("rignet_r50_network", (50, 2 * 50, 6 * 50)),
        ("rignet_r50_network_gated", (50, 2 * 50, 6 * 50)),
        ("rignet_r50_stage", (50, 50 + 28, 50 + 5 * 28)),
        ("dignet_resnet50_32s", (50, 2 * 50, 6 * 50)),
    ],
)
def test_effective_depth(name, depths):
    model = on_meta(name)
    assert tuple(effective_depth(model, iterations) for iterations in (1, 2, 6)) == depths
    assert effective_depth(model) == depths[1]
    assert not model.training


class MeanFeedback(Feedback):
    """Gates without weights: the mean of the outputs that each reads."""

    def __init__(self, reads):
        super().__init__()
        self.reads, self.blocks = reads, sorted(reads)

    def forward(self, maps):
        return {
            block: sum(maps[source].mean((1, 2, 3), keepdim=True) for source in sources)
            for block, sources in self.reads.items()
        }


@pytest.mark.parametrize(
    "reads",
    [
        {4: [4], 5: [5], 6: [6]},
        {2: [3], 4: [4, 6], 6: [6]},
        {3: [5]},
        {1: [2], 2: [1], 5: [6]},
        {6: [6]},
        {4: [1], 5: [0]},
    ],
    ids=str,
)
def test_effective_depth_is_the_longest_path_of_the_unrolled_graph(reads):
    """The layers on the longest path of the whole computation, as autograd has it, if the gates have no weights."""
    model = gatezoo.create_model("test_rignet", backbone="resnet26").eval()
    model.feedback = MeanFeedback(reads)
    image = torch.randn(1, 3, 64, 64, requires_grad=True)
    for iterations in (1, 2, 3):
        (*_, (maps, _)) = parallel(model.chain, model.feedback, image, iterations, lambda f, *args: f(*args))
        assert effective_depth(model, iterations) == count_weighted_layers(maps[-1])


def test_sequential_unroll_refuses_multi_range_feedback():
    assert isinstance(rignet(unroll="pf").feedback, MultiRangeFeedback)
    assert not any(isinstance(rignet(unroll=unroll).feedback, MultiRangeFeedback) for unroll in ("su", "pu"))
    model = rignet(unroll="pf")
    chain = BlockChain(model.backbone, model.head)
    assert len(chain) == 6
    message = "must read each block's own output only; got MultiRangeFeedback: choose the parallel unroll"
    with pytest.raises(ValueError, match=message):
        list(sequential(chain, model.feedback, torch.randn(1, 3, 64, 64), 2, model._maybe_checkpoint))


def test_refusals():
    for blocks, text in (
        ((0, 1), r"gated blocks must be some of 1 \.\. 6, or -6 \.\. -1; got \[0, 1\]"),
        ((6, 7), r"got \[6, 7\]"),
        ((), r"got \[\]"),
        ((4, 6), r"gated blocks must be consecutive; got \[4, 6\]"),
    ):
        with pytest.raises(ValueError, match=text):
            rignet(blocks=blocks)
    with pytest.raises(ValueError, match="unroll must be one of su, pu, pf; got 'puf'"):
        rignet(unroll="puf")
    with pytest.raises(ValueError, match="unroll must be 'pu' for feedback='stage'; got 'su': pass unroll='pu'"):
        rignet(unroll="su", feedback="stage")
    with pytest.raises(ValueError, match="pool must be one of average, max, none; got 'mean'"):
        rignet(pool="mean")
    with pytest.raises(ValueError, match="interaction must be one of"):
        rignet(interaction="multiply")
    with pytest.raises(ValueError, match=r"blocks must be None for feedback='network_gated'; got \[5, 6\]"):
        rignet(unroll="pu", feedback="network_gated", blocks=(5, 6))
    for keyword in ({"pool": "max"}, {"interaction": "add_relu"}, {"gate_width": 8}):
        with pytest.raises(ValueError, match=r"defaults for feedback='network', which .*; got .*: leave them out"):
            rignet(unroll="pu", feedback="network", **keyword)
    with pytest.raises(ValueError, match="not such a chain"):
        rignet(backbone="hrnet_w18_small")
