"""PSPNet and gated fully fusion as whole networks."""

import pytest
import torch
from helpers.loops import bilinear_by_loops, block_by_loops, conv_by_loops
from helpers.randomize import randomize
from torch import nn

import gatezoo
from gatezoo.backbones.pyramid import Pyramid
from gatezoo.layers.conv import SingletonBatchNorm2d
from gatezoo.losses import make_loss
from gatezoo.model_info import count_gmacs, count_parameters, on_meta
from gatezoo.registry import get_model_spec
from gatezoo.training.objectives import SemanticObjective

FUSIONS = ["concat", "addition", "fpn", "gated_fpn", "gff"]
ALL_FUSIONS = [*FUSIONS, "gff_in_turn"]
# Computed by hand for ResNet-101 and 19 classes: laterals with norm, two 3x3 with norm a level, and what the
# classifier reads beyond the context.
LATERALS, REFINED, READ = (256 + 512 + 1024 + 2048) * 256 + 4 * 512, 8 * (9 * 256 * 256 + 512), 4 * 256 * 19
GATES = 256 + 512 + 1024 + 2048 + 4


def test_parameters_of_gff_as_the_text_has_it():
    fused = on_meta("gff_pspnet_r101", num_classes=19, auxiliary=False, dfp=False)
    assert count_parameters(fused) == 65_583_699 + LATERALS + REFINED + READ + GATES == 71_314_775
    full = on_meta("gff_pspnet_r101", num_classes=19, auxiliary=False)
    inputs = sum(512 + 256 * count for count in (1, 2, 3, 4))
    assert count_parameters(full) == 71_314_775 + 9 * 256 * inputs + 4 * 512
    helped = on_meta("gff_pspnet_r101", num_classes=19)
    assert count_parameters(helped) - count_parameters(full) == 9 * 1024 * 512 + 2 * 512 + 512 * 19 + 19


def test_parameters_of_light_gff_by_hand():
    """Levels of 256, 512, 1024 and the context's 512 channels, refined but for the last; 1x1 in the pyramid."""
    laterals, gates = (256 + 512 + 1024 + 512) * 256 + 4 * 512, 256 + 512 + 1024 + 512 + 4
    refined, read = 6 * (9 * 256 * 256 + 512), 4 * 256 * 19 - 512 * 19
    fused = on_meta("gff_pspnet_r101_light_nodfp", num_classes=19, auxiliary=False)
    assert count_parameters(fused) == 65_583_699 + laterals + gates + refined + read
    full = on_meta("gff_pspnet_r101_light", num_classes=19, auxiliary=False)
    pyramid = 256 * sum(512 + 256 * count for count in (1, 2, 3)) + 3 * 512
    assert count_parameters(full) - count_parameters(fused) == pyramid + 256 * 19


# Rows of the paper's Table 3, at 512 x 512: GFLOP, millions of parameters. Ours: parameters, GMAC. The paper does not
# say what it counts: at two FLOP a multiply-accumulate its PSPNet costs more than ours, and GFF adds less to it.
TABLE_3 = [
    ("pspnet_r101", (580.1, 65.6), (65_583_699, 254.77)),
    ("gff_pspnet_r101_light_nodfp", (600.1, 69.7), (69_729_623, 287.09)),
    ("gff_pspnet_r101_light", (625.5, 70.5), (70_522_455, 300.24)),
]


@pytest.mark.parametrize(("name", "paper", "ours"), TABLE_3)
def test_table_3_has_the_parameters_of_the_light_reading(name, paper, ours):
    model = on_meta(name, num_classes=19, auxiliary=False)
    assert count_parameters(model) == ours[0]
    assert round(count_parameters(model) / 1e6, 1) == paper[1]
    assert round(count_gmacs(model, 512, 512), 2) == ours[1] < paper[0] / 2


@pytest.mark.parametrize(
    ("fusion", "more"),
    [
        ("addition", 0),
        ("concat", 4 * (4 * 256 * 256 + 512)),
        ("fpn", 512 * 256 + 512),
        ("gated_fpn", 512 * 256 + 512 + GATES + 512 + 1),
        ("gff", GATES),
    ],
)
def test_fusions_share_their_base(fusion, more):
    names = {"gff": "gff_pspnet_r101"}
    model = on_meta(names.get(fusion, f"{fusion}_pspnet_r101"), num_classes=19, auxiliary=False, dfp=False)
    assert count_parameters(model) == 65_583_699 + LATERALS + REFINED + READ + more


@torch.no_grad()
def test_pspnet_is_its_parts_one_after_the_other():
    model = gatezoo.create_model("test_pspnet").eval()
    image = torch.randn(1, 3, 65, 97)
    context = model.head.context(model.backbone(image)[-1])
    coarse = model.head.classify[1](context)
    assert torch.equal(model(image), nn.functional.interpolate(coarse, (65, 97), mode="bilinear"))


@torch.no_grad()
@pytest.mark.parametrize("dfp", [True, False])
def test_gff_is_its_parts_one_after_the_other(dfp):
    model = gatezoo.create_model("test_gff", dfp=dfp).eval()
    head, image = model.head, torch.randn(1, 3, 65, 97)
    maps = model.backbone(image)
    assert [tuple(x.shape[-2:]) for x in maps] == [(17, 25), (9, 13), (9, 13), (9, 13)]
    context = head.context(maps[-1])
    fused, gates = head.fusion(maps, context)
    refined = [refine(x) for refine, x in zip(head.refine, fused, strict=True)]
    read = head.pyramid(refined, context) if dfp else [*refined, context]
    whole = torch.cat([nn.functional.interpolate(x, (17, 25), mode="bilinear") for x in read], 1)
    coarse = nn.functional.conv2d(whole, head.classify.weight, head.classify.bias)
    expected = nn.functional.interpolate(coarse, (65, 97), mode="bilinear")
    torch.testing.assert_close(model(image), expected, atol=1e-5, rtol=1e-5)
    outputs = model.outputs(image)
    assert torch.equal(outputs.logits, model(image))
    assert len(outputs.gates) == 1
    assert [tuple(g.shape) for g in outputs.gates[0].values()] == [(1, 1, *x.shape[-2:]) for x in maps]
    assert all(torch.equal(outputs.gates[0][level], gates[level]) for level in (1, 2, 3, 4))


@torch.no_grad()
@pytest.mark.parametrize("dfp", [True, False])
def test_light_gff_is_the_literal_loop_of_its_equations(dfp):
    """Levels: three stages and the context. Each pixel of each level by eq. 5, then the pyramid's 1x1 of eq. 6."""
    model = randomize(gatezoo.create_model("test_gff_light", dfp=dfp, num_classes=3))
    head, image = model.head, torch.randn(1, 3, 33, 49)
    *stages, deepest = model.backbone(image)
    y0 = head.context(deepest)
    raw = [*stages, y0]
    sizes = [tuple(x.shape[-2:]) for x in raw]
    assert sizes == [(9, 13), (5, 7), (5, 7), (5, 7)]
    reduced = [block_by_loops(lateral, x) for lateral, x in zip(head.fusion.lateral, raw, strict=True)]
    gates = [
        conv_by_loops(x, gate[0].weight, gate[0].bias).sigmoid()
        for gate, x in zip(head.fusion.gates.values(), raw, strict=True)
    ]
    fused = []
    for level in range(4):
        received = sum(bilinear_by_loops(gates[i] * reduced[i], sizes[level]) for i in range(4) if i != level)
        fused.append((1 + gates[level]) * reduced[level] + (1 - gates[level]) * received)
    refined = [
        block_by_loops(second, block_by_loops(first, x))
        for (first, second), x in zip(head.refine, fused[:3], strict=True)
    ]
    if dfp:
        outputs = [bilinear_by_loops(y0, sizes[0])]
        for merge, x in zip(head.pyramid.merge, refined[::-1], strict=True):
            assert merge.conv.kernel_size == (1, 1)
            outputs.append(block_by_loops(merge, torch.cat([*outputs, bilinear_by_loops(x, sizes[0])], 1)))
        read = outputs[::-1]
    else:
        read = [bilinear_by_loops(x, sizes[0]) for x in (*refined, fused[3])]
    coarse = conv_by_loops(torch.cat(read, 1), head.classify.weight, head.classify.bias)
    torch.testing.assert_close(model(image), bilinear_by_loops(coarse, (33, 49)), atol=1e-4, rtol=1e-4)
    shown = model.outputs(image).gates[0]
    assert list(shown) == [1, 2, 3, 4]
    for level, gate in enumerate(gates, start=1):
        torch.testing.assert_close(shown[level], gate, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("dfp", [True, False])
def test_light_gff_trains_all_of_its_parameters(dfp):
    model = gatezoo.create_model("test_gff_light", dfp=dfp, auxiliary=False).train()
    model(torch.randn(2, 3, 64, 64)).square().mean().backward()
    assert all(p.grad is not None for p in model.parameters())


def test_parameters_of_the_decoder_of_the_authors_by_hand():
    """Levels of 128, 1024 and 256 channels: group 2 and 5 of WiderResNet-38 and the context, 128 wide; 19 classes."""
    model = on_meta("gff_deeplabv3plus_wrn38_decoder", num_classes=19)
    assert (model.backbone.channels, model.backbone.strides) == ([128, 1024, 4096], [2, 8, 8])
    pooling = 2 * (4096 * 256 + 512) + 3 * (9 * 4096 * 256 + 512) + 9 * 1280 * 256
    levels = (128 + 1024 + 256) * 128
    fusion = (levels + 3 * 2 * 128) + (levels + 3 * 128)
    steps = sum(2 * c * 128 + c * 128 * 128 + 128 + 2 * 128 + 9 * 128 * 128 + 128 for c in (1, 2, 3))
    refine = 9 * 512 * 256 + 512 + 9 * 256 * 256 + 512 + 256 * 19
    assert count_parameters(model.head) == pooling + fusion + steps + refine
    assert count_parameters(model) == 105_070_912 + pooling + fusion + steps + refine


def test_decoder_of_the_authors_is_written_out_level_by_level():
    model = randomize(gatezoo.create_model("test_gff_decoder", num_classes=3))
    head, image = model.head, torch.randn(1, 3, 33, 49)
    with torch.no_grad():
        fine, middle, deepest = model.backbone(image)
        assert [tuple(x.shape[-2:]) for x in (fine, middle, deepest)] == [(17, 25), (5, 7), (5, 7)]
        pooled = [branch(deepest) for branch in head.context.branches]
        pooled.append(head.context.whole(deepest.mean((2, 3), keepdim=True)).expand(-1, -1, 5, 7))
        context = nn.functional.conv2d(torch.cat(pooled, 1), head.context.merge.weight, padding=1)
        raw = (fine, middle, context)
        x1, x2, x3 = (lateral(x) for lateral, x in zip(head.fusion.lateral, raw, strict=True))
        g1, g2, g3 = (gate(x) for gate, x in zip(head.fusion.gates.values(), raw, strict=True))

        def up(x):
            return bilinear_by_loops(x, (17, 25))

        f1 = (1 + g1) * x1 + (1 - g1) * (up(g2 * x2) + up(g3 * x3))
        f2 = (1 + g2) * x2 + (1 - g2) * (bilinear_by_loops(g1 * f1, (5, 7)) + g3 * x3)
        f3 = (1 + g3) * x3 + (1 - g3) * (bilinear_by_loops(g1 * f1, (5, 7)) + g2 * f2)

        def step(number, x, rate):
            norm, _, narrow, norm2, _, wide = head.steps[number]
            y = nn.functional.conv2d(norm(x).relu(), narrow.weight, narrow.bias)
            return nn.functional.conv2d(norm2(y).relu(), wide.weight, wide.bias, padding=rate, dilation=rate)

        y1 = step(0, up(f3), 3)
        y2 = step(1, torch.cat([y1, up(f2)], 1), 6)
        y3 = step(2, torch.cat([y1, y2, f1], 1), 9)
        coarse = head.classify(head.refine(torch.cat([y1, up(x3), y2, y3], 1)))
        torch.testing.assert_close(model(image), bilinear_by_loops(coarse, (33, 49)), atol=1e-4, rtol=1e-4)
        shown = model.outputs(image).gates[0]
    assert [tuple(g.shape) for g in shown.values()] == [(1, 8, 17, 25), (1, 8, 5, 7), (1, 8, 5, 7)]
    assert all(torch.equal(shown[level], g) for level, g in enumerate((g1, g2, g3), start=1))


def test_decoder_of_the_authors_trains_all_of_its_parameters():
    model = gatezoo.create_model("test_gff_decoder").train()
    model(torch.randn(2, 3, 64, 64)).square().mean().backward()
    assert all(p.grad is not None for p in model.parameters())
    for keywords, message in (
        (dict(fusion="addition"), "fusion must be 'gff_in_turn' or 'gff'; got 'addition': choose one"),
        (dict(rates=(3, 6)), r"rates must be one for each of 3 levels; got \[3, 6\]: pass 3 of them"),
    ):
        with pytest.raises(ValueError, match=message):
            gatezoo.create_model("test_gff_decoder", **keywords)


def test_auxiliary_heads_run_only_in_outputs(monkeypatch):
    model = gatezoo.create_model("test_gff")
    assert list(model.auxiliary) == ["2"]
    calls = []
    model.auxiliary["2"].register_forward_hook(lambda *_: calls.append(1))
    image = torch.randn(2, 3, 64, 64)
    for mode in (True, False):
        model.train(mode)(image)
    assert calls == []
    extra = model.outputs(image).auxiliary
    assert [tuple(x.shape) for x in extra] == [(2, 21, 64, 64)]
    coarse = model.auxiliary["2"](model.backbone(image)[2])
    assert torch.equal(extra[0], nn.functional.interpolate(coarse, (64, 64), mode="bilinear"))
    assert gatezoo.create_model("test_gff", auxiliary=False).outputs(image).auxiliary == []


@pytest.mark.parametrize("weight", [0.0, 0.4, 1.0])
def test_loss_of_auxiliary_heads_is_weighted(weight):
    model = gatezoo.create_model("test_gff", num_classes=4).eval()
    loss, normalize = make_loss("cross_entropy"), model.make_normalize()
    images = torch.randint(256, (2, 3, 64, 64), dtype=torch.uint8)
    labels = torch.randint(4, (2, 64, 64), dtype=torch.uint8)
    outputs = model.outputs(normalize(images))
    expected = loss(outputs.logits, labels.long()) + weight * loss(outputs.auxiliary[0], labels.long())
    objective = SemanticObjective(model, normalize, loss, aux_loss_weight=weight)
    torch.testing.assert_close(objective(images, labels), expected)
    objective(images, labels).backward()
    assert all((p.grad is None) == (weight == 0) for p in model.auxiliary.parameters())
    assert all(p.grad is not None for p in model.head.parameters())


def test_weight_of_auxiliary_heads_comes_from_the_recipe(shapes, tmp_path):
    from gatezoo.data import FolderDataset
    from gatezoo.recipes.recipe import Recipe
    from gatezoo.training.options import RunOptions
    from gatezoo.training.trainer import Trainer

    assert Recipe().aux_loss_weight == 0.4
    data = FolderDataset(shapes, ["ground", "disc"])
    model = gatezoo.create_model("test_pspnet", num_classes=2)
    recipe = Recipe(steps=1, batch_size=1, crop_size=48, amp_dtype="none", aux_loss_weight=0.7)
    trainer = Trainer(model, data, data, recipe, RunOptions(tmp_path / "out", workers=0))
    assert trainer.objective.aux_loss_weight == 0.7
    assert trainer.accelerator.ddp_handler.find_unused_parameters is False
    recipe = Recipe(batch_size=1, aux_loss_weight=0.0)
    trainer = Trainer(model, data, data, recipe, RunOptions(tmp_path / "b", workers=0))
    assert trainer.accelerator.ddp_handler.find_unused_parameters is True


@pytest.mark.parametrize("name", ["test_pspnet", "test_gff"])
@pytest.mark.parametrize("size", [(32, 32), (33, 47), (65, 97)])
def test_training_with_a_batch_of_one_at_odd_sizes(name, size):
    model = gatezoo.create_model(name, num_classes=4).train()
    before = {
        key: module.running_mean.clone()
        for key, module in model.named_modules()
        if isinstance(module, SingletonBatchNorm2d)
    }
    logits = model(torch.randn(1, 3, *size))
    assert logits.shape == (1, 4, *size)
    logits.square().mean().backward()
    unused = {name for name, p in model.named_parameters() if p.grad is None}
    assert unused == {name for name, _ in model.named_parameters() if name.startswith("auxiliary.")}
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)
    kept = [torch.equal(model.get_submodule(key).running_mean, mean) for key, mean in before.items()]
    assert kept == [True, False, False, False]


@torch.no_grad()
@pytest.mark.parametrize(
    ("backbone", "output_stride"),
    [
        ("convnext_atto", 8),
        ("swin_tiny_patch4_window7_224", 32),
        ("pvt_v2_b0", 32),
        ("mobilenetv2_035", 16),
        ("hrnet_w18_small", 32),
    ],
)
def test_gff_on_other_backbones(backbone, output_stride):
    model = gatezoo.create_model("test_gff", backbone=backbone, output_stride=output_stride, num_classes=3).eval()
    assert model.backbone.strides == [min(stride, output_stride) for stride in (4, 8, 16, 32)]
    outputs = model.outputs(torch.randn(1, 3, 65, 97))
    assert outputs.logits.shape == (1, 3, 65, 97)
    assert list(outputs.gates[0]) == [1, 2, 3, 4]


def test_gff_on_maxvit():
    model = on_meta("test_gff", backbone="maxvit_tiny_tf_224", output_stride=32, strides=(4, 16, 32))
    with torch.no_grad():
        assert model(torch.empty(1, 3, 65, 97, device="meta")).shape == (1, 21, 65, 97)


def test_levels_are_the_last_maps_of_the_stages():
    """Strides 4 8 8 8: the three maps at stride 8 are of three stages."""
    model = on_meta("gff_pspnet_r101")
    assert (model.backbone.channels, model.backbone.strides) == ([256, 512, 1024, 2048], [4, 8, 8, 8])
    model = on_meta("gff_denseaspp_densenet121")
    assert (model.backbone.channels, model.backbone.strides) == ([256, 512, 1024, 1024], [4, 8, 8, 8])
    model = on_meta("gff_deeplabv3plus_wrn38")
    assert (model.backbone.channels, model.backbone.strides) == ([256, 512, 1024, 4096], [4, 8, 8, 8])


@torch.no_grad()
def test_trained_pspnet_initializes_its_fusions():
    """As in the paper: the backbone, the context and the auxiliary head fit by name."""
    plain, fused = gatezoo.create_model("test_pspnet"), gatezoo.create_model("test_gff")
    source, target = plain.state_dict(), fused.state_dict()
    same = {key for key, value in source.items() if key in target and target[key].shape == value.shape}
    assert {key for key in source.keys() - same if not key.startswith(("auxiliary.", "head.classify."))} == set()
    assert any(key.startswith("head.context.") for key in same)


def test_multiplications_of_gff():
    """GMAC at 512 x 512: the additional work of Table 3 is mostly the dense pyramid at stride 4."""
    plain, fused = (on_meta("gff_pspnet_r101", num_classes=19, dfp=dfp, auxiliary=False) for dfp in (False, True))
    pixels, inputs = 128 * 128, sum(512 + 256 * count for count in (1, 2, 3, 4))
    # Levels 2, 3, 4 and the context are classified at stride 4 after the pyramid, at stride 8 without.
    moved = (3 * 256 + 512) * 19 * (pixels - pixels // 4) / 1e9
    assert count_gmacs(fused, 512, 512) - count_gmacs(plain, 512, 512) == pytest.approx(
        9 * 256 * inputs * pixels / 1e9 + moved
    )


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        (dict(fusion="sum"), f"fusion must be one of {', '.join(ALL_FUSIONS)}; got 'sum'"),
        (dict(strides=(32,)), "levels to fuse must be at least two; got 1: ask for more strides"),
        (dict(strides=(2, 3)), r"strides of backbone 'test_resnet' at output_stride=8 are \[2, 4, 8, 8, 8\]; got 2, 3"),
        (dict(backbone="convnext_atto", strides=(2, 4)), r"are \[4, 8, 8, 8\]; got 2, 4"),
        (dict(backbone="pvt_v2_b0"), r"output_stride of backbone 'pvt_v2_b0' must be one of \[32\]; got 8"),
        (dict(pyramid="wide"), "pyramid must be one of dense, light; got 'wide'"),
        (dict(pyramid="light", fusion="fpn"), "pyramid must be 'dense' for fusion='fpn', which adds the context map"),
        (dict(context="ppm"), "context must be one of pyramid_pooling, dense_aspp, atrous_pooling; got 'ppm'"),
        (dict(fussion="gff"), "got 'fussion'. Did you mean fusion"),
    ],
)
def test_wrong_keywords_are_refused_in_one_line(keywords, message):
    with pytest.raises(ValueError, match=message) as caught:
        gatezoo.create_model("test_gff", **keywords)
    assert len(str(caught.value).splitlines()) == 1


def test_models_of_the_paper_exist():
    names = {f"{kind}pspnet_{net}" for kind in ("", "gff_") for net in ("r18", "r50", "r101", "mobilenetv2")}
    names |= {f"{fusion}_pspnet_r101" for fusion in FUSIONS}
    names |= {f"{kind}{net}" for kind in ("", "gff_") for net in ("denseaspp_densenet121", "deeplabv3plus_wrn38")}
    assert names <= set(gatezoo.list_models())
    assert not get_model_spec("fpn_pspnet_r101").model_kwargs["dfp"]


def test_grad_checkpointing_of_a_dilated_densenet():
    net = Pyramid("densenet121", (4, 8), output_stride=8).train()
    net.set_grad_checkpointing()
    sum(x.mean() for x in net(torch.randn(2, 3, 32, 32))).backward()
    assert all(p.grad is not None for p in net.parameters() if p.requires_grad)
