import pytest

import gatezoo
from gatezoo import pretrained, registry
from gatezoo.pretrained import PretrainedCfg
from gatezoo.registry import register_model, register_models


@pytest.fixture
def tags(monkeypatch):
    """Two sets of weights for one model and one for another."""
    cfgs = [
        PretrainedCfg(name, tag, 2, (0.5,) * 3, (0.5,) * 3)
        for name, tag in [("test_fcn", "camvid"), ("test_fcn", "voc12"), ("test_dignet", "voc12")]
    ]
    monkeypatch.setattr(pretrained, "manifest", lambda: {cfg.name: cfg for cfg in cfgs})


@pytest.fixture
def scratch(monkeypatch):
    monkeypatch.setattr(registry, "_rows", dict(registry._rows))


def test_list_models_takes_a_string_or_a_list_everywhere(tags):
    both = ["test_dignet", "test_fcn"]
    assert set(both) < set(gatezoo.list_models("test_*"))
    assert gatezoo.list_models("test_*", task="instance") == ["test_maskrcnn_fpn", "test_zigzag_maskrcnn"]
    assert set(gatezoo.list_models()) == {n for t in ("semantic", "instance") for n in gatezoo.list_models(task=t)}
    assert gatezoo.list_models(["test_fc*", "test_di*"]) == both
    assert gatezoo.list_models("test_*", exclude_filters="*fcn") == gatezoo.list_models(
        "test_*", exclude_filters=["*fcn"]
    )
    assert gatezoo.list_models("test_*", module="fcn") == gatezoo.list_models("test_*", module=("fcn",)) == ["test_fcn"]
    # A string to leave out, with tags: the case that timm reads letter by letter.
    assert gatezoo.list_models(pretrained=True, exclude_filters="*dignet*") == ["test_fcn.camvid", "test_fcn.voc12"]


def test_list_pretrained(tags):
    assert gatezoo.list_pretrained() == ["test_dignet.voc12", "test_fcn.camvid", "test_fcn.voc12"]
    assert gatezoo.list_pretrained("*.voc12") == ["test_dignet.voc12", "test_fcn.voc12"]
    assert gatezoo.list_pretrained("test_fcn") == ["test_fcn.camvid", "test_fcn.voc12"]
    assert gatezoo.list_models(pretrained=True, include_tags=False) == ["test_dignet", "test_fcn", "test_fcn"][:2]


def test_names_are_sorted_as_people_count():
    names = gatezoo.list_models("dignet_mobilenetv2*")
    assert names == ["dignet_mobilenetv2_8s", "dignet_mobilenetv2_32s"]


def test_is_model_and_friends(tags):
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


def test_an_unknown_name_suggests_near_misses():
    with pytest.raises(ValueError, match=r"got 'dignet_resnet50_8'\. Did you mean dignet_resnet50_8s"):
        gatezoo.create_model("dignet_resnet50_8")
    with pytest.raises(ValueError, match=r"got 'qqq'\. gatezoo\.list_models\(\) lists them"):
        gatezoo.create_model("qqq")


def test_a_misspelt_keyword_names_the_accepted_ones():
    with pytest.raises(
        ValueError, match=r"test_dignet takes the keywords .*shallowest.*; got 'shalowest'\. Did you mean shallowest"
    ):
        gatezoo.create_model("test_dignet", shalowest=2)
    with pytest.raises(ValueError, match=r"test_fcn takes the keywords .*; got 'iterations'"):
        gatezoo.create_model("test_fcn", iterations=2)


def test_a_taken_name_and_a_misspelt_row_fail_when_registered(scratch):
    def builder(width=1):
        return width

    register_models(builder, {"scratch_a": dict(width=2)})
    assert gatezoo.model_entrypoint("scratch_a")() == 2
    with pytest.raises(ValueError, match="model names must be unique; 'scratch_a' is taken"):
        register_models(builder, {"scratch_a": {}})
    with pytest.raises(ValueError, match="scratch_b takes the keywords width; got 'widht'"):
        register_models(builder, {"scratch_b": dict(widht=2)})
    assert not gatezoo.is_model("scratch_b")


def test_register_model_decorates_a_users_function(scratch):
    @register_model
    def my_network(**keywords):
        return keywords

    assert gatezoo.model_entrypoint("my_network")(anything=1) == {"anything": 1}


def test_another_backbone_leaves_the_rows_backbone_args_behind():
    model = gatezoo.model_entrypoint("fcn_mobilenetv2_32s")
    assert model(backbone="test_resnet").backbone.name == "test_resnet"
