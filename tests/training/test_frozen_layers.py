"""Parts of a network that are frozen for a whole training."""

import pytest
import torch
from helpers.small_training import draw_images

import gatezoo
from gatezoo.data import FolderDataset
from gatezoo.model_info import on_meta
from gatezoo.recipes.recipe import Recipe
from gatezoo.training.frozen_layers import freeze_layers
from gatezoo.training.options import RunOptions
from gatezoo.training.trainer import Trainer


def trained(tmp_path, names, model="test_fcn", **model_kwargs):
    """Train a step and return the names of the tensors that changed and of those that did not."""
    data = FolderDataset(draw_images(tmp_path / "data"), 2)
    network = gatezoo.create_model(model, num_classes=2, freeze_bn=False, **model_kwargs)
    for module in network.modules():
        if hasattr(module, "running_mean"):  # some scales are 0 at first, which stops the gradient
            torch.nn.init.ones_(module.weight)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    base = dict(steps=1, batch_size=2, crop_size=64, class_weights="none", amp_dtype="none", lr=0.1)
    recipe = Recipe(**base, frozen_layers=names)
    Trainer(network, data, data, recipe, RunOptions(tmp_path / "out", "cpu", workers=0)).run()
    after = {name: tensor for name, tensor in network.state_dict().items() if "num_batches" not in name}
    changed = {name for name, tensor in after.items() if not torch.equal(tensor, before[name])}
    return changed, after.keys() - changed


@pytest.mark.parametrize(
    ("names", "prefixes", "norms"),
    [
        ((), (), ()),
        (("norm_statistics",), (), ("running_mean", "running_var")),
        (("norm_affine",), (), ("running_mean", "running_var", "weight", "bias")),
        (("stem",), ("net.conv1", "net.bn1"), ()),
        (("stage1",), ("net.layer1",), ()),
        (
            ("stem", "stage1", "norm_statistics"),
            ("net.conv1", "net.bn1", "net.layer1"),
            ("running_mean", "running_var"),
        ),
    ],
)
def test_frozen_parts_keep_their_weights_and_statistics_and_no_others_do(tmp_path, names, prefixes, norms):
    changed, kept = trained(tmp_path, names)
    known = {name.removeprefix("backbone.") for name in changed | kept if name.startswith("backbone.")}
    expected = {name for name in known if prefixes and name.startswith(prefixes)}
    for name in known:
        module, _, tensor = name.rpartition(".")
        expected |= {name} if tensor in norms and f"{module}.running_mean" in known else set()
    assert kept == {f"backbone.{name}" for name in expected}


def test_norms_of_a_recurrent_network_are_those_outside_of_its_backbone_too():
    model = gatezoo.create_model("test_dignet", num_classes=2, freeze_bn=False, head="fcn")
    freeze_layers(model, ["norm_affine", "norm_statistics"])
    model.train()
    norms = [module for module in model.modules() if hasattr(module, "running_mean")]
    assert len(norms) > len([module for module in model.backbone.modules() if hasattr(module, "running_mean")])
    assert not any(norm.training or norm.weight.requires_grad for norm in norms)
    assert all(parameter.requires_grad for name, parameter in model.named_parameters() if name.endswith("conv1.weight"))


@pytest.mark.parametrize("backbone", ["resnet50_gn", "convnext_atto", "resnet18"])
def test_norms_of_every_kind_keep_their_scale_and_shift(backbone):
    model = on_meta("fpn_r50", backbone=backbone)
    freeze_layers(model, ["norm_affine"])
    norms = {name for name, module in model.backbone.named_modules() if "Norm" in type(module).__name__}
    frozen = {name.rpartition(".")[0] for name, p in model.named_parameters() if not p.requires_grad}
    assert frozen == {f"backbone.{name}" for name in norms}


@pytest.mark.parametrize(
    ("name", "frozen"), [("test_maskrcnn_fpn", True), ("test_zigzag_maskrcnn", True), ("test_maskrcnn_fpn_v2", False)]
)
def test_detectors_freeze_the_statistics_of_their_backbones_unless_told_otherwise(name, frozen):
    for given, expected in (({}, frozen), ({"freeze_bn": not frozen}, not frozen)):
        model = gatezoo.create_model(name, num_classes=2, **given).train()
        norms = [module for module in model.backbone.modules() if hasattr(module, "running_mean")]
        assert norms
        assert all(norm.training != expected for norm in norms)


@pytest.mark.parametrize(
    ("name", "stem", "stage"),
    [
        ("test_rignet_su", ("net.conv1.", "net.bn1."), "net.layer1."),
        ("test_zigzag_maskrcnn", ("net.conv1.", "net.bn1."), "net.layer1."),
        ("fcn_mobilenetv2_8s", ("net.conv_stem.", "net.bn1."), "net.blocks.0."),
        ("gff_deeplabv3plus_wrn38", ("stem.",), "groups.0."),
    ],
)
def test_stem_and_first_stage_of_other_backbones(name, stem, stage):
    model = on_meta(name)
    backbone = model.backbone
    freeze_layers(model, ["stem", "stage1"])
    frozen = {key for key, parameter in backbone.named_parameters() if not parameter.requires_grad}
    assert frozen == {key for key, _ in backbone.named_parameters() if key.startswith((*stem, stage))}
    assert all(parameter.requires_grad for key, parameter in model.named_parameters() if not key.startswith("backbone"))


def test_frozen_layers_are_checked():
    assert Recipe.from_dict({"frozen_layers": ["stem"]}).frozen_layers == ("stem",)
    with pytest.raises(ValueError, match=r"frozen_layers must be one of norm_statistics, .*; got 'stage2'\. Did"):
        Recipe(frozen_layers=("stage2",))
    with pytest.raises(ValueError, match="frozen_layers must be a list of texts; got 'stem'"):
        Recipe(frozen_layers="stem")
