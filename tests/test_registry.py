"""The registry: names, keywords and the backbone's keywords that are folded into one argument."""

import inspect
import subprocess
import sys

import pytest
from helpers.manifest import use_manifest

import gatezoo
from gatezoo import registry
from gatezoo.backbones.spec import BackboneSpec
from gatezoo.pretrained import PretrainedCfg
from gatezoo.registry import get_model_spec, register_model, register_models


@pytest.fixture
def tags(monkeypatch):
    """Two sets of weights for one model and one for another."""
    cfgs = [
        PretrainedCfg(name, tag, 2, (0.5,) * 3, (0.5,) * 3)
        for name, tag in [("test_fcn", "camvid"), ("test_fcn", "voc12"), ("test_dignet", "voc12")]
    ]
    use_manifest(monkeypatch, *cfgs)


@pytest.fixture
def scratch(monkeypatch):
    monkeypatch.setattr(registry, "_specs", dict(registry._specs))


def test_list_models_takes_a_string_or_a_list_everywhere(tags):
    both = ["test_dignet", "test_fcn"]
    assert set(both) < set(gatezoo.list_models("test_*"))
    detectors = ["test_deformable_maskrcnn", "test_maskrcnn_fpn", "test_maskrcnn_fpn_v2"]
    detectors += ["test_zigzag_deformable_maskrcnn", "test_zigzag_maskrcnn"]
    assert gatezoo.list_models("test_*maskrcnn*", task="instance") == detectors
    assert set(gatezoo.list_models()) == {n for t in ("semantic", "instance") for n in gatezoo.list_models(task=t)}
    assert gatezoo.list_models(["test_fcn*", "test_di*"]) == both
    assert gatezoo.list_models("test_*", exclude_filters="*fcn") == gatezoo.list_models(
        "test_*", exclude_filters=["*fcn"]
    )
    assert gatezoo.list_models("test_*", module="fcn") == gatezoo.list_models("test_*", module=("fcn",)) == ["test_fcn"]
    # exclude_filters as one string, with tags: timm reads this case letter by letter.
    assert gatezoo.list_models(pretrained=True, exclude_filters="*dignet*") == ["test_fcn.camvid", "test_fcn.voc12"]


def test_list_pretrained(tags):
    assert gatezoo.list_pretrained() == ["test_dignet.voc12", "test_fcn.camvid", "test_fcn.voc12"]
    assert gatezoo.list_pretrained("*.voc12") == ["test_dignet.voc12", "test_fcn.voc12"]
    assert gatezoo.list_pretrained("test_fcn") == ["test_fcn.camvid", "test_fcn.voc12"]
    assert gatezoo.list_models(pretrained=True, include_tags=False) == ["test_dignet", "test_fcn", "test_fcn"][:2]


def test_names_are_sorted_as_people_count():
    names = gatezoo.list_models("dignet_mobilenetv2*")
    assert names == ["dignet_mobilenetv2_8s", "dignet_mobilenetv2_32s"]


def test_is_model_and_its_siblings(tags):
    assert gatezoo.is_model("test_fcn")
    assert gatezoo.is_model("test_fcn.nope")
    assert not gatezoo.is_model("nope")
    assert gatezoo.is_model_pretrained("test_fcn")
    assert not gatezoo.is_model_pretrained("fcn_resnet50_8s")
    assert gatezoo.get_pretrained_cfg("test_fcn").tag == "camvid"
    assert gatezoo.get_pretrained_cfg("test_fcn.voc12").tag == "voc12"
    assert gatezoo.get_pretrained_cfg("fcn_resnet50_8s") is None
    with pytest.raises(ValueError, match="weights of test_fcn have the tags camvid, voc12; got 'coco'"):
        gatezoo.get_pretrained_cfg("test_fcn.coco")
    assert {"dignet", "fcn"} <= set(gatezoo.list_modules())
    assert gatezoo.model_entrypoint("test_fcn")(num_classes=3).num_classes == 3


def test_unknown_name_suggests_similar_ones():
    with pytest.raises(ValueError, match=r"got 'dignet_resnet50_8'\. Did you mean dignet_resnet50_8s"):
        gatezoo.create_model("dignet_resnet50_8")
    with pytest.raises(ValueError, match=r"got 'qqq'\. gatezoo\.list_models\(\) lists them"):
        gatezoo.create_model("qqq")


def test_misspelt_keyword_lists_the_accepted_ones():
    with pytest.raises(
        ValueError, match=r"test_dignet takes the keywords .*shallowest.*; got 'shalowest'\. Did you mean shallowest"
    ):
        gatezoo.create_model("test_dignet", shalowest=2)
    with pytest.raises(ValueError, match=r"test_fcn takes the keywords .*; got 'iterations'"):
        gatezoo.create_model("test_fcn", iterations=2)


def test_taken_name_and_misspelt_variant_fail_when_registered(scratch):
    def builder(width=1):
        return width

    register_models(builder, {"scratch_a": dict(width=2)})
    assert gatezoo.model_entrypoint("scratch_a")() == 2
    with pytest.raises(ValueError, match="model names must be unique; 'scratch_a' is taken"):
        register_models(builder, {"scratch_a": {}})
    with pytest.raises(ValueError, match="scratch_b takes the keywords width; got 'widht'"):
        register_models(builder, {"scratch_b": dict(widht=2)})
    assert not gatezoo.is_model("scratch_b")
    with pytest.raises(ValueError, match="model names must be letters, digits and underscores; got 'scratch-c'"):
        register_models(builder, {"scratch-c": {}})


def test_register_model_decorates_a_users_function(scratch):
    @register_model
    def my_network(**keywords):
        return keywords

    assert gatezoo.model_entrypoint("my_network")(anything=1) == {"anything": 1}
    assert get_model_spec("my_network").parameter_names() == []


def test_builder_without_backbone_spec_gets_its_keywords_flat(scratch):
    @register_model
    def my_flat_network(backbone: str, in_chans: int = 3, width: int = 4):
        return backbone, in_chans, width

    spec = get_model_spec("my_flat_network")
    assert spec.parameters() == {"backbone": inspect.Parameter.empty, "in_chans": 3, "width": 4}
    assert gatezoo.model_entrypoint("my_flat_network")(backbone="resnet18", width=2) == ("resnet18", 3, 2)
    with pytest.raises(ValueError, match="takes the keywords backbone, in_chans, width; got 'output_stride'"):
        spec.merge({"output_stride": 8})


@pytest.mark.parametrize("annotation", [BackboneSpec, "BackboneSpec", "spec.BackboneSpec"])
def test_keywords_of_the_backbone_are_folded(scratch, annotation):
    def builder(backbone, num_classes=21, freeze_bn=True, *, width=4):
        """Build a network."""
        return backbone, num_classes, width

    builder.__annotations__["backbone"] = annotation
    register_models(builder, {"folded": dict(backbone="resnet18", backbone_args={"a": 1})}, output_stride=8)
    register_models(builder, {"folded_all_strides": dict(backbone="resnet18")}, output_stride=None)
    spec, all_strides = get_model_spec("folded"), get_model_spec("folded_all_strides")
    assert spec.parameters() == {
        "backbone": inspect.Parameter.empty,
        "output_stride": 8,
        "width": 4,
        "num_classes": 21,
        "in_chans": 3,
        "pretrained_backbone": False,
        "backbone_args": None,
        "freeze_bn": True,
    }
    assert spec.parameter_names() == list(spec.parameters())
    assert all_strides.parameter_names() == [name for name in spec.parameter_names() if name != "output_stride"]
    build = gatezoo.model_entrypoint("folded")
    assert list(inspect.signature(build).parameters) == spec.parameter_names()
    assert build() == (BackboneSpec("resnet18", 8, kwargs={"a": 1}), 21, 4)
    changes = dict(output_stride=16, in_chans=1, pretrained_backbone="w.safetensors", num_classes=2, width=1)
    assert build(**changes) == (BackboneSpec("resnet18", 16, 1, "w.safetensors", {"a": 1}), 2, 1)
    assert build(backbone="resnet34") == (BackboneSpec("resnet34", 8), 21, 4)
    assert gatezoo.model_entrypoint("folded_all_strides")() == (BackboneSpec("resnet18"), 21, 4)
    with pytest.raises(ValueError, match=r"takes the keywords backbone, width, .*; got 'output_stride'"):
        all_strides.merge({"output_stride": 8})
    for text in (build.__doc__, spec.documentation()):
        assert text.startswith("Build a network.\n\nKeywords of the backbone:\n    output_stride: 32, or 16 or 8")
        assert text.count("pretrained_backbone: True for timm's ImageNet weights") == 1
    assert "output_stride" not in all_strides.documentation()


def test_folded_backbone_must_be_given(scratch):
    @register_model
    def my_folded_network(backbone: BackboneSpec, num_classes: int = 21):
        return backbone

    with pytest.raises(ValueError, match="backbone of my_folded_network must be given; got none: pass backbone=NAME"):
        gatezoo.model_entrypoint("my_folded_network")()
    assert gatezoo.model_entrypoint("my_folded_network")(backbone="resnet18") == BackboneSpec("resnet18")


def test_non_default_keywords():
    spec = get_model_spec("fcn_mobilenetv2_8s")
    assert spec.non_default_kwargs(spec.merge({})) == {}
    changes = dict(num_classes=3, in_chans=1, freeze_bn=True, output_stride=16, head="fcn", backbone="resnet18")
    assert spec.non_default_kwargs(changes) == {key: value for key, value in changes.items() if key != "head"}
    assert spec.architecture_kwargs(changes) == {"output_stride": 16, "backbone": "resnet18"}


def test_retired_keyword_is_accepted_with_the_value_that_is_built_in():
    spec = get_model_spec("deeplabv3_resnet50")
    saved = dict(backbone="resnet50", context="atrous_pooling", context_width=256, refine=True, decoder=False)
    assert spec.merge(saved) == dict(backbone="resnet50", context_width=256)
    assert spec.non_default_kwargs(saved) == {}
    with pytest.raises(ValueError, match="decoder of deeplabv3_resnet50 must be False, which is built in; got True"):
        spec.merge(dict(decoder=True))
    assert not {"context", "refine", "decoder"} & set(spec.parameter_names())


def test_every_model_has_a_family_and_a_paper():
    specs = [get_model_spec(name) for name in gatezoo.list_models()]
    assert {spec.family for spec in specs} == set(gatezoo.list_modules()) == set(gatezoo.models.__all__)
    assert all(spec.family == spec.builder.__module__.rpartition(".")[2] for spec in specs)
    assert all(spec.paper.endswith(")") for spec in specs)


def test_another_backbone_drops_the_models_backbone_args():
    model = gatezoo.model_entrypoint("fcn_mobilenetv2_32s")
    assert model(backbone="test_resnet").backbone.name == "test_resnet"


def test_pyramid_strides_are_those_before_dilation():
    assert BackboneSpec("resnet18", output_stride=8).pyramid((4, 8, 16, 32)).strides == [4, 8, 8, 8]
    assert BackboneSpec("resnet18", output_stride=16).pyramid().strides == [16]
    assert BackboneSpec("test_resnet", in_chans=1).stages().channels[0] == 1


def test_registry_and_backbone_spec_import_no_torch():
    code = (
        "import sys, gatezoo.registry\n"
        "from gatezoo.backbones import BackboneSpec\n"
        "import gatezoo\n"
        "assert gatezoo.model_entrypoint('dignet_resnet50_8s').__doc__\n"
        "assert not {'torch', 'timm'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_public_names_are_listed_and_resolve():
    assert gatezoo.__all__ == sorted(set(gatezoo.__all__))
    assert set(gatezoo.__all__) <= set(dir(gatezoo))
    assert {"Recipe", "create_model", "evaluate", "finetune", "predict", "train"} <= set(gatezoo.__all__)
    assert {name for name in gatezoo.__all__ if not callable(getattr(gatezoo, name))} == {"EXAMPLE_IMAGE"}
    assert gatezoo.EXAMPLE_IMAGE.is_file()
