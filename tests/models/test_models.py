"""Every registered model, its parameters and its multiply-accumulates."""

import pytest
import torch
from torch import Tensor, nn

import gatezoo
from gatezoo.gates.modulator import Modulator
from gatezoo.layers.resize import resize_to
from gatezoo.model_info import count_gmacs, count_parameters, describe, on_meta
from gatezoo.registry import get_model_spec

SEMANTIC = gatezoo.list_models(task="semantic")
SMALL = gatezoo.list_models(["test_*", "*mobilenetv2*", "*lite0*"], task="semantic")


@pytest.mark.parametrize("name", SEMANTIC)
def test_models_give_logits_at_the_size_of_the_image(name):
    model = on_meta(name, num_classes=7)
    image = torch.empty(1, 3, 65, 97, device="meta")
    with torch.no_grad():
        assert model(image, **model.extra_inputs({"depth": image[:, 0]})).shape == (1, 7, 65, 97)


@pytest.mark.parametrize("name", gatezoo.list_models())
def test_default_classes_and_task(name):
    """The classes are those of the first data set of the paper: NYU-Depth-v2 for depth gating, else PASCAL VOC."""
    model, spec = on_meta(name), get_model_spec(name)
    assert model.num_classes == {"depthgate": 40}.get(spec.family, 21)
    assert model.task == spec.task


@pytest.mark.parametrize("name", gatezoo.list_models(task="instance"))
def test_instance_models_build_and_can_be_counted(name):
    model = on_meta(name, num_classes=7)
    assert count_gmacs(model, 65, 97) > 0
    assert model.raw_outputs(torch.empty(1, 3, 65, 97, device="meta")).ndim == 1


@pytest.mark.parametrize("name", SMALL)
def test_small_models_train_a_step(name):
    model = gatezoo.create_model(name, num_classes=5).train()
    logits = model(torch.randn(1, 3, 65, 97), **model.extra_inputs({"depth": torch.rand(1, 65, 97) * 5}))
    nn.functional.cross_entropy(logits, torch.randint(5, (1, 65, 97))).backward()
    assert torch.isfinite(logits).all()


def test_models_of_the_design_exist():
    names = {
        f"{family}_resnet{depth}_{stride}s" for family in ("fcn", "dignet") for depth in (50, 101) for stride in (8, 32)
    }
    names |= {"deeplabv2_resnet101", "dignet_deeplabv2_resnet101", "dignet_mobilenetv2_8s", "fcn_mobilenetv2_8s"}
    assert names <= set(gatezoo.list_models())


def test_every_family_has_a_tiny_model():
    for family in gatezoo.list_modules():
        assert any(name.startswith("test_") for name in gatezoo.list_models(module=family)), family


def test_parameters_of_dignet_on_resnet50():
    model = on_meta("dignet_resnet50_32s")
    assert count_parameters(model.feedback) == 7_485_523
    assert count_parameters(model) == 31_036_584
    assert round(count_parameters(model.feedback) / 1e6, 3) == 7.486
    assert round(count_parameters(model) / 1e6, 3) == 31.037


class LiteralModulator(Modulator):
    """The concatenation at full size that the paper describes; ours multiplies before it resizes."""

    def forward(self, signal: Tensor, size: tuple[int, int]) -> Tensor:
        signal = resize_to(signal, size)
        pyramid = [resize_to(nn.functional.adaptive_avg_pool2d(signal, bins), size) for bins in self.bins]
        return self.weigh(torch.cat([signal, *pyramid], 1)).sigmoid()


def test_multiplications_of_dignet_on_resnet50(monkeypatch):
    """321 x 321, stride 8, a 1x1 classifier: 40.9, 96.3 and 151.6 GMAC with modulators as the paper writes them."""
    model = on_meta("dignet_resnet50_8s", head="linear")
    lean = [count_gmacs(model, 321, 321, iterations=passes) for passes in (1, 2, 3)]
    monkeypatch.setattr(Modulator, "forward", LiteralModulator.forward)
    literal = [count_gmacs(model, 321, 321, iterations=passes) for passes in (1, 2, 3)]
    assert [round(count, 1) for count in literal] == [40.9, 96.3, 151.6]
    assert lean[0] == literal[0]
    assert [round(count, 1) for count in lean[1:]] == [92.4, 143.8]


def test_lean_modulator_equals_the_literal_one():
    gate = Modulator(16, 8)
    nn.init.normal_(gate.weigh.weight)
    signal = torch.randn(2, 16, 21, 30)
    for size in ((21, 30), (41, 60), (9, 31)):
        literal = LiteralModulator.forward(gate, signal, size)
        torch.testing.assert_close(gate(signal, size), literal, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", ["dignet_resnet50_32s", "dignet_deeplabv2_resnet101"])
def test_pass_costs_the_plain_network_and_the_gates(name):
    model = on_meta(name)
    once, twice, thrice = (count_gmacs(model, 321, 321, iterations=passes) for passes in (1, 2, 3))
    image = torch.empty(1, 3, 321, 321, device="meta")
    maps = [image, *model.backbone(image)]
    maps.append(model.head(maps[-1]))
    with torch.utils.flop_counter.FlopCounterMode(display=False) as counter:
        model.feedback(maps)
    gates = counter.get_total_flops() / 2e9
    assert twice == pytest.approx(2 * once + gates, rel=1e-9)
    assert thrice == pytest.approx(3 * once + 2 * gates, rel=1e-9)


@pytest.mark.parametrize("name", ["dignet_lite0_8s", "dignet_lite0_32s"])
def test_gates_of_dignet_cost_less_than_a_small_backbone(name):
    model = on_meta(name)
    once, twice = (count_gmacs(model, 320, 320, iterations=passes) for passes in (1, 2))
    assert twice - 2 * once < once


@torch.no_grad()
def test_dilated_lite0_has_the_values_of_the_strided_network():
    """A "same" 3x3 or 5x5 window of stride 2 is centered one position on: i -> 2i + 1, twice i -> 4i + 3."""
    strided, dilated = (gatezoo.create_model(f"fcn_lite0_{stride}s").backbone.eval() for stride in (32, 8))
    dilated.load_state_dict(strided.state_dict())
    image = torch.randn(1, 3, 128, 192)
    (coarse,), (fine,) = strided(image), dilated(image)
    assert (coarse.shape[-2:], fine.shape[-2:]) == ((4, 6), (16, 24))
    torch.testing.assert_close(fine[..., 3::4, 3::4], coarse)


def test_resnet101_on_an_image_of_odd_size():
    model = gatezoo.create_model("dignet_resnet101_8s").eval()
    with torch.no_grad():
        assert model(torch.randn(1, 3, 65, 97)).shape == (1, 21, 65, 97)


@pytest.mark.parametrize(
    ("backbone", "blocks", "gates"),
    [
        ("resnet50", (-3, -2, -1), 23.984),
        ("resnet50", None, 25.313),
        ("resnet101", (-3, -2, -1), 23.984),
        ("resnet101", None, 25.313),
        ("resnet18", (-3, -2, -1), 1.572),
        ("resnet18", None, 1.685),
    ],
)
def test_parameters_of_rignet(backbone, blocks, gates):
    for unroll in ("su", "pu"):
        model = on_meta("rignet_r50_pu", backbone=backbone, unroll=unroll, blocks=blocks)
        assert round(count_parameters(model.feedback) / 1e6, 3) == gates


@pytest.mark.parametrize("name", ["rignet_r50_su", "rignet_r50_pu"])
def test_iteration_of_rignet_costs_its_gated_blocks_and_gates(name):
    """Only blocks 4 .. 6 run again, in either order."""
    model = on_meta(name)
    once, twice, six = (count_gmacs(model, 321, 321, iterations=count) for count in (1, 2, 6))
    image = torch.empty(1, 3, 321, 321, device="meta")
    maps = [image, *model.backbone(image)]
    maps.append(model.head(maps[-1]))
    with torch.utils.flop_counter.FlopCounterMode(display=False) as counter:
        model.feedback(maps)
        for block in (4, 5, 6):
            model.chain.run(block, maps[block - 1])
    again = counter.get_total_flops() / 2e9
    assert twice == pytest.approx(once + again, rel=1e-9)
    assert six == pytest.approx(once + 5 * again, rel=1e-9)


@pytest.mark.parametrize(
    ("model_kwargs", "millions"),
    [
        (dict(gate="none", loops=0), 35.33),
        (dict(gate="average", tied=True, loops=0), 35.33),
        (dict(loops=0, tied=True), 35.43),
        (dict(loops=0), 44.87),
        (dict(loops=1, tied=True), 42.90),
        (dict(loops=1), 61.78),
        (dict(loops=3), 61.78),
    ],
)
def test_parameters_of_depth_aware_gating_on_resnet50(model_kwargs, millions):
    assert round(count_parameters(on_meta("depthgate_r50", **model_kwargs)) / 1e6, 2) == millions


@pytest.mark.parametrize("name", ["depthgate_r50", "depthgate_mobilenetv2"])
def test_loop_of_depth_aware_gating_costs_the_recurrent_module(name):
    model = on_meta(name)
    once, twice, four = (count_gmacs(model, 320, 256, iterations=count) for count in (1, 2, 4))
    width = model.recurrent.classify.in_channels
    with torch.utils.flop_counter.FlopCounterMode(display=False) as counter:
        model.recurrent(torch.empty(1, 2 * width, 40, 32, device="meta"))
    loop = counter.get_total_flops() / 2e9
    assert twice == pytest.approx(once + loop, rel=1e-9)
    assert four == pytest.approx(once + 3 * loop, rel=1e-9)
    assert count_parameters(model.recurrent) < count_parameters(model)


@pytest.mark.parametrize("name", ["test_dignet", "test_gff", "test_depthgate", "test_fcn", "test_zigzag_maskrcnn"])
def test_description(name):
    spec, facts = get_model_spec(name), describe(name)
    assert (facts["name"], facts["task"], facts["paper"]) == (name, spec.task, spec.paper)
    assert facts["backbone"].startswith("test_resnet, output stride ")
    assert facts["keywords"].startswith("backbone='test_resnet', ")
    assert [
        text.partition("=")[0] for text in facts["keywords"].split(", ") if text[0].isalpha()
    ] == spec.parameter_names()
    assert any(title.startswith("GMAC") for title in facts)
    assert ("gates" in facts) == (name in ("test_dignet", "test_gff"))
