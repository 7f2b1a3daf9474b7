"""DenseASPP, DeepLabV3 and DeepLabV3+ as whole networks."""

import json

import pytest
import torch
from torch import nn

import gatezoo
from gatezoo.heads.deeplab import AtrousPooling, DeepLabV3PlusHead
from gatezoo.heads.dense_aspp import DenseASPP
from gatezoo.layers.conv import ConvNormAct
from gatezoo.model_info import count_parameters, on_meta
from gatezoo.registry import get_model_spec


@pytest.mark.parametrize(
    ("name", "context", "strides"),
    [
        ("test_denseaspp", DenseASPP, [8, 8]),
        ("test_deeplabv3", AtrousPooling, [8, 8]),
        ("test_deeplabv3plus", AtrousPooling, [4, 8, 8]),
    ],
)
def test_context_and_strides(name, context, strides):
    model = gatezoo.create_model(name, num_classes=3)
    assert type(model.head.context) is context
    assert model.backbone.strides == strides
    assert list(model.auxiliary) == [str(len(strides) - 2)]
    assert model.outputs(torch.randn(2, 3, 65, 97)).auxiliary[0].shape == (2, 3, 65, 97)
    assert gatezoo.create_model(name, auxiliary=False).outputs(torch.randn(2, 3, 64, 64)).auxiliary == []


def test_deeplabv3_refines_the_context():
    assert isinstance(gatezoo.create_model("test_deeplabv3").head.refine, ConvNormAct)
    assert isinstance(gatezoo.create_model("test_denseaspp").head.refine, nn.Identity)


@pytest.mark.parametrize(
    ("name", "part", "rates"),
    [
        ("dignet_deeplabv2_resnet101", "head", (6, 12, 18, 24)),
        ("denseaspp_densenet121", "head.context", (3, 6, 12, 18, 24)),
        ("deeplabv3_resnet50", "head.context", (12, 24, 36)),
        ("deeplabv3plus_wrn38", "head.context", (12, 24, 36)),
    ],
)
def test_rates_of_atrous_pooling_are_those_of_the_papers(name, part, rates):
    convs = [m for m in on_meta(name).get_submodule(part).modules() if isinstance(m, nn.Conv2d)]
    large = [(conv.dilation, conv.padding) for conv in convs if conv.kernel_size == (3, 3)]
    assert large == [((rate, rate), (rate, rate)) for rate in rates]


def test_deeplabv3plus_reads_a_shallow_map():
    model = on_meta("deeplabv3plus_wrn38", num_classes=19, auxiliary=False)
    assert model.backbone.strides == [4, 8, 8]
    model = gatezoo.create_model("test_deeplabv3plus", num_classes=3, auxiliary=False).train()
    assert isinstance(model.head, DeepLabV3PlusHead)
    image = torch.randn(1, 3, 65, 97)
    model(image).square().mean().backward()
    assert all(p.grad is not None for p in model.parameters())
    assert model.head(*model.backbone(image)).shape[-2:] == (17, 25)


def test_dilation_of_stage_entries_keeps_the_parameters():
    plain = gatezoo.create_model("test_deeplabv3")
    dilated = gatezoo.create_model("test_deeplabv3", dilate_stage_entries=True)
    assert count_parameters(plain) == count_parameters(dilated)
    dilations = [
        [m.dilation for m in model.backbone.modules() if isinstance(m, nn.Conv2d)] for model in (plain, dilated)
    ]
    assert dilations[0] != dilations[1]


def test_folder_with_keywords_of_an_older_version_is_read(tmp_path):
    """Such folders hold the keywords that one builder for all of these networks had."""
    model = gatezoo.create_model("test_deeplabv3", num_classes=3).eval()
    folder = gatezoo.save_pretrained(model, tmp_path / "model", ["a", "b", "c"])
    config = json.loads((folder / "config.json").read_text())
    config["model_args"] |= dict(context="atrous_pooling", refine=True, decoder=False, dilate_stage_entries=False)
    (folder / "config.json").write_text(json.dumps(config))
    loaded = gatezoo.from_pretrained(folder).eval()
    image = torch.randn(1, 3, 64, 64)
    torch.testing.assert_close(loaded(image), model(image))
    assert not {"context", "refine", "decoder"} & set(loaded.model_kwargs)
    config["model_args"]["refine"] = False
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match="refine of test_deeplabv3 must be True, which is built in; got False"):
        gatezoo.from_pretrained(folder)


@pytest.mark.parametrize("name", ["pspnet_r18", "denseaspp_densenet121", "deeplabv3_resnet50", "deeplabv3plus_wrn38"])
def test_retired_keywords_are_no_keywords(name):
    spec = get_model_spec(name)
    assert {"context", "refine", "decoder"} <= set(spec.retired_kwargs)
    assert not set(spec.retired_kwargs) & set(spec.parameter_names())
