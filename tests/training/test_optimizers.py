"""Which parameters learn, and how fast."""

import pytest
import timm
import torch
from timm.optim import param_groups_layer_decay

import gatezoo
from gatezoo.backbones.wide_resnet import WiderResNet38
from gatezoo.recipes.recipe import Recipe
from gatezoo.training.optimizers import check_optimizer, create_optimizer, distinct_rates


def rates(model, **fields):
    """Learning rate of each parameter that is trained, by name."""
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    groups = create_optimizer(model, Recipe(lr=0.5, head_lr_mult=4, **fields)).param_groups
    return {names[id(parameter)]: group["lr"] for group in groups for parameter in group["params"]}


@pytest.mark.parametrize("backbone", ["test_resnet", "mobilenetv2_035", "test_convnext"])
def test_layer_decay_is_that_of_timm(backbone):
    """Each parameter of the backbone has timm's own factor for it in the whole network; new layers have none."""
    model = gatezoo.create_model("fcn_resnet50_32s", num_classes=3, backbone=backbone)
    whole = timm.create_model(backbone)
    names = {id(parameter): name.replace(".", "_") for name, parameter in whole.named_parameters()}
    scales = {
        names[id(parameter)]: group["lr_scale"]
        for group in param_groups_layer_decay(whole, layer_decay=0.7)
        for parameter in group["params"]
    }
    ours, used = rates(model, layer_decay=0.7), set()
    for name, rate in ours.items():
        if name.startswith("backbone.net."):
            used.add(round(rate / 0.5 / scales[name.removeprefix("backbone.net.").replace(".", "_")], 6))
        else:
            assert rate == pytest.approx(0.5 * 4)
    assert used == {1.0}
    assert max(rate for name, rate in ours.items() if name.startswith("backbone.")) == pytest.approx(0.5 * 0.7)
    assert rates(model)["backbone.net." + next(n for n, _ in model.backbone.net.named_parameters())] == 0.5


def test_layers_of_the_wide_resnet_go_from_stem_to_last_norm():
    from timm.models import group_parameters

    with torch.device("meta"):
        net = WiderResNet38()
    layers = group_parameters(net, net.group_matcher(), reverse=True)
    assert layers["stem.weight"] == 0
    assert layers["groups.0.1.convolve.0.weight"] == 1
    assert layers["leave.0.weight"] == layers["groups.5.0.convolve.0.weight"] == max(layers.values()) == 17


def test_momentum_and_parameters_that_the_network_froze():
    model = gatezoo.create_model("test_fcn", num_classes=2)
    model.backbone.net.conv1[0].weight.requires_grad_(False)
    assert "backbone.net.conv1.0.weight" not in rates(model)
    assert "backbone.net.conv1.3.weight" in rates(model)
    for opt in ("momentum", "sgd"):
        assert {group["momentum"] for group in create_optimizer(model, Recipe(opt=opt, momentum=0.7)).param_groups} == {
            0.7
        }


def test_distinct_rates_name_each_group_once():
    model = gatezoo.create_model("test_fcn", num_classes=2)
    assert distinct_rates(create_optimizer(model, Recipe(lr=0.5, head_lr_mult=4))) == [
        ("backbone", 0.5),
        ("new layers", 2.0),
    ]
    layered = distinct_rates(create_optimizer(model, Recipe(lr=0.5, head_lr_mult=1, layer_decay=0.5)))
    assert layered[-1] == ("new layers", 0.5)
    assert [rate for _, rate in layered] == sorted({0.5**k for k in range(1, len(layered) + 1)})


def test_frozen_backbone_has_no_gradient_and_keeps_its_statistics():
    model = gatezoo.create_model("test_fcn", num_classes=2, freeze_bn=False)
    trained = rates(model, freeze_backbone=True)
    assert trained
    assert not any(name.startswith("backbone.") for name in trained)
    model.train()
    statistics = {name: value.clone() for name, value in model.backbone.named_buffers()}
    maps = []
    model.backbone.register_forward_hook(lambda _module, _inputs, output: maps.extend(output))
    model(torch.randn(2, 3, 64, 64)).square().mean().backward()
    assert maps
    assert not any(found.requires_grad for found in maps)
    assert all(parameter.grad is None for parameter in model.backbone.parameters())
    assert all(model.get_parameter(name).grad is not None for name in trained)
    assert all(torch.equal(value, statistics[name]) for name, value in model.backbone.named_buffers())


def test_unknown_optimizer_is_told():
    check_optimizer("adamw")
    with pytest.raises(ValueError, match=r"opt must be one of ada.*; got 'adamq'\. Did you mean adam"):
        check_optimizer("adamq")
