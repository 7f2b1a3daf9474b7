"""Test that stem and stages of the backbones of detection baselines are numbered as Detectron names them."""

import pytest

from gatezoo.backbones.layer_groups import layers_of
from gatezoo.model_info import on_meta


@pytest.mark.parametrize("name", ["maskrcnn_fpn_r50", "maskrcnn_fpn_r101", "maskrcnn_fpn_r152", "zigzag_maskrcnn_r101"])
def test_stem_and_stages_of_a_resnet_are_numbered(name):
    """``conv1`` and ``res2`` in Detectron: the 7x7 convolution with its norm, and three bottlenecks."""
    backbone = on_meta(name).backbone
    layers = layers_of(backbone, coarse=True)
    sizes = {key: parameter.numel() for key, parameter in backbone.named_parameters()}
    assert layers.keys() == sizes.keys()
    assert {key for key, layer in layers.items() if layer == 0} == {
        "net.conv1.weight",
        "net.bn1.weight",
        "net.bn1.bias",
    }
    for stage in (1, 2, 3, 4):
        assert {key for key, layer in layers.items() if layer == stage} == {
            key for key in sizes if key.startswith(f"net.layer{stage}.")
        }
    counts = [sum(sizes[key] for key, layer in layers.items() if layer == stage) for stage in (0, 1)]
    assert counts == [9_408 + 128, 215_808]


@pytest.mark.parametrize("name", ["zigzag_maskrcnn_mobilenetv2", "maskrcnn_fpn_lite0", "test_maskrcnn_fpn"])
def test_stem_and_first_stage_of_small_backbones_are_numbered(name):
    layers = layers_of(on_meta(name).backbone, coarse=True)
    first = {layer: {key.split(".")[1] for key, own in layers.items() if own == layer} for layer in (0, 1)}
    assert first in (
        {0: {"conv_stem", "bn1"}, 1: {"blocks"}},
        {0: {"conv1", "bn1"}, 1: {"layer1"}},
    )
