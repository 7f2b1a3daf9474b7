"""Deformable Mask R-CNN: Mask R-CNN before training, what moves in training, its size, and what it refuses."""

import pytest
import torch
from torch import nn

import gatezoo
from gatezoo.layers.deformable_conv import DeformableConv2d
from gatezoo.model_info import count_gmacs, count_parameters, on_meta

SIZES = [(80, 61), (50, 90)]
TWINS = {"test_deformable_maskrcnn": "test_maskrcnn_fpn", "test_zigzag_deformable_maskrcnn": "test_zigzag_maskrcnn"}


def images():
    return [torch.rand(3, *size) for size in SIZES]


def targets(*counts):
    """Return as many objects in each image, from an upper left corner on."""
    found = []
    for size, count in zip(SIZES, counts, strict=True):
        boxes = torch.tensor([[4.0 * k, 3 + k, 25 + 4 * k, 40] for k in range(count)]).reshape(-1, 4)
        masks = torch.zeros(count, *size, dtype=torch.bool)
        for mask, (left, top, right, bottom) in zip(masks, boxes.int().tolist()):
            mask[top:bottom, left:right] = True
        found.append({"boxes": boxes, "labels": torch.ones(count, dtype=torch.int64), "masks": masks})
    return found


def twins(name):
    """(deformable network, plain network of the same weights)"""
    torch.manual_seed(0)
    deformable, plain = (gatezoo.create_model(n, num_classes=3) for n in (name, TWINS[name]))
    missing, unexpected = deformable.load_state_dict(plain.state_dict(), strict=False)
    assert not unexpected
    assert all(".offset." in key or key.startswith("roi_heads.box_roi_pool.offsets.") for key in missing)
    assert len(missing) == 2 * (5 + 4)
    return deformable, plain


@pytest.mark.parametrize("name", TWINS)
def test_untrained_network_is_mask_rcnn(name):
    deformable, plain = twins(name)
    batch, losses = images(), []
    for model in (deformable, plain):
        torch.manual_seed(1)
        losses.append(model.train()(batch, targets(2, 1)))
    assert losses[0].keys() == losses[1].keys()
    for key, value in losses[0].items():
        torch.testing.assert_close(value, losses[1][key], atol=1e-4, rtol=1e-4)
    with torch.no_grad():
        for found, expected in zip(deformable.eval()(batch), plain.eval()(batch), strict=True):
            assert len(expected["boxes"]) > 0
            for key in ("boxes", "labels", "scores"):
                torch.testing.assert_close(found[key], expected[key], atol=1e-3, rtol=1e-4)
            torch.testing.assert_close(found["masks"].dense(), expected["masks"].dense(), atol=1e-3, rtol=1e-4)


def offsets_of(model):
    """Parameters that compute offsets, by name."""
    return {name: p for name, p in model.named_parameters() if ".offset." in name or ".offsets." in name}


def wake(model):
    """Let the blocks of the backbone, which begin as the identity, have an effect."""
    for module in model.backbone.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.ones_(module.weight)
    return model


def test_offsets_learn():
    """From the first step on, although the weights are zero; those of maps without a region stay."""
    torch.manual_seed(0)
    model = wake(gatezoo.create_model("test_deformable_maskrcnn", num_classes=3)).train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    sum(model(images(), targets(2, 1)).values()).backward()
    optimizer.step()
    moved = {name: bool((p != 0).any()) for name, p in offsets_of(model).items()}
    assert all(moved[name] for name in moved if ".offset." in name)
    assert moved["roi_heads.box_roi_pool.offsets.0.0.weight"]
    assert not moved["roi_heads.box_roi_pool.offsets.3.0.weight"]
    assert len(moved) == 18


@pytest.mark.parametrize("name", TWINS)
@pytest.mark.parametrize("counts", [(2, 1), (0, 2), (0, 0)])
def test_every_parameter_gets_a_gradient(name, counts):
    """Regions are small, and no map but the finest has one; in an empty batch there is no object at all."""
    torch.manual_seed(0)
    model = gatezoo.create_model(name, num_classes=3, offset_layers=2, proposals=20).train()
    losses = model(images(), targets(*counts))
    sum(losses.values()).backward()
    assert all(torch.isfinite(loss) for loss in losses.values())
    unused = {name for name, parameter in model.named_parameters() if parameter.grad is None}
    assert not unused
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())


def test_autocast_changes_results_little():
    torch.manual_seed(0)
    model = gatezoo.create_model("test_deformable_maskrcnn", num_classes=3).train()
    for parameter in offsets_of(model).values():
        nn.init.normal_(parameter, std=0.01)
    batch, losses = images(), []
    for enabled in (False, True):
        torch.manual_seed(1)
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            losses.append(model(batch, targets(2, 1)))
    sum(losses[1].values()).backward()
    for key, value in losses[0].items():
        torch.testing.assert_close(losses[1][key], value, atol=0.1, rtol=0.1)


@torch.no_grad()
def test_raw_outputs_depend_on_every_parameter():
    torch.manual_seed(0)
    model = wake(gatezoo.create_model("test_deformable_maskrcnn", num_classes=3)).eval()
    image = torch.randn(1, 3, 130, 170)
    before = model.raw_outputs(image)
    for name, parameter in model.named_parameters():
        kept = parameter.clone()
        parameter += 0.1 * torch.randn_like(parameter) + 0.1
        assert not torch.equal(model.raw_outputs(image), before), name
        parameter.copy_(kept)


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("deformable_maskrcnn_fpn_r50", 50_562_853),
        ("deformable_maskrcnn_fpn_r101", 69_554_981),
        ("deformable_maskrcnn_fpn_r152", 85_198_629),
        ("zigzag_deformable_maskrcnn_r50", 97_981_221),
        ("zigzag_deformable_maskrcnn_r101", 116_973_349),
        ("zigzag_deformable_maskrcnn_r152", 132_616_997),
    ],
)
def test_parameters(name, parameters):
    """Those of Mask R-CNN, of five convolutions of offsets, and of a linear layer for each of four maps."""
    deformable, plain = (on_meta(n, num_classes=81) for n in (name, name.replace("deformable_", "")))
    assert count_parameters(deformable) == parameters
    channels = 128 if name.startswith("zigzag") else 256
    assert parameters - count_parameters(plain) == 1_244_520 + 4 * (channels * 49 + 1) * 98


def test_multiplications_are_those_of_mask_rcnn_and_of_the_offsets():
    deformable, plain = (on_meta(name, num_classes=81) for name in ("deformable_maskrcnn_fpn_r50", "maskrcnn_fpn_r50"))
    places = {8: 40 * 48, 16: 20 * 24, 32: 10 * 12}
    offsets = 72 * 9 * (128 * places[8] + 256 * places[16] + 3 * 512 * places[32]) + 1000 * 256 * 49 * 98
    counts = [count_gmacs(model, 320, 384) for model in (deformable, plain)]
    assert counts[0] - counts[1] == pytest.approx(offsets / 1e9, rel=1e-9)


@pytest.mark.parametrize("name", ["deformable_maskrcnn_fpn_lite0", "zigzag_deformable_maskrcnn_lite0"])
def test_small_networks_have_few_proposals(name):
    assert on_meta(name).rpn.post_nms_top_n() == 300
    assert on_meta(name.replace("lite0", "r50")).rpn.post_nms_top_n() == 1000


@torch.no_grad()
@pytest.mark.parametrize(
    "name",
    [
        "deformable_maskrcnn_fpn_lite0",
        "zigzag_deformable_maskrcnn_lite0",
        "zigzag_deformable_maskrcnn_mobilenetv2",
    ],
)
def test_small_networks_run(name):
    model = gatezoo.create_model(name, num_classes=3, pretrained_backbone=False, min_size=96, max_size=160).eval()
    assert any(isinstance(module, DeformableConv2d) for module in model.backbone.modules())
    assert len(model(images())) == 2


def test_refusals():
    for name in TWINS:
        with pytest.raises(ValueError, match=r"backbone must have plain 3x3 convolutions .*; got 'convnext_atto'"):
            gatezoo.create_model(name, backbone="convnext_atto")
        with pytest.raises(ValueError, match="deform must be one of pyramid, res5, c3-c5; got 'c4'"):
            gatezoo.create_model(name, deform="c4")
        with pytest.raises(ValueError, match="offset_layers must be at least 1; got 0"):
            gatezoo.create_model(name, offset_layers=0)
        with pytest.raises(ValueError, match="proposals must be at least 1; got 0"):
            gatezoo.create_model(name, proposals=0)


def test_work_is_that_of_as_many_regions_as_there_are_proposals():
    limits = {"maskrcnn_fpn_lite0": 1000, "deformable_maskrcnn_fpn_lite0": 300, "fcis_fpn_lite0": 600}
    for name, most in limits.items():
        with torch.device("meta"):
            model = gatezoo.create_model(name)
        assert model.max_workload_kwargs == {"proposals": most, "instances": 100}, name
