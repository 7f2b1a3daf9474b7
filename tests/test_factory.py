"""Creating models by name, with and without weights."""

import importlib.util

import pytest
import torch
from helpers.headers import header
from helpers.manifest import use_manifest
from safetensors.torch import save_file

import gatezoo
from gatezoo import factory, pretrained
from gatezoo.pretrained import PretrainedCfg
from gatezoo.weights import sources
from gatezoo.weights.integrity import sha256_of
from gatezoo.weights.loading import LoadReport, load_tensors, no_init_weights


@pytest.fixture
def published(tmp_path, monkeypatch):
    """A network whose weights are in the manifest: 5 classes, half precision."""
    torch.manual_seed(1)
    model = gatezoo.create_model("test_dignet", num_classes=5)
    path = tmp_path / "test_dignet.demo.safetensors"
    save_file({k: v.half() if v.is_floating_point() else v for k, v in model.state_dict().items()}, path)
    cfg = PretrainedCfg(
        "test_dignet",
        "demo",
        5,
        (0.4, 0.5, 0.6),
        (0.2, 0.2, 0.2),
        class_names=tuple("abcde"),
        size=path.stat().st_size,
        sha256=sha256_of(path),
        sources=(f"bundled:{path.name}",),
    )
    use_manifest(monkeypatch, cfg)
    monkeypatch.setattr(sources, "BUNDLED", tmp_path)
    return model, path


def test_pretrained_weights(published):
    source, _ = published
    model = gatezoo.create_model("test_dignet", pretrained=True)
    assert model.num_classes == 5
    assert model.pretrained_cfg.class_names == tuple("abcde")
    for key, value in source.state_dict().items():
        torch.testing.assert_close(model.state_dict()[key], value, atol=1e-3, rtol=1e-3)
        assert model.state_dict()[key].dtype == value.dtype
    assert sorted(model.load_report.loaded) == sorted(source.state_dict())
    assert str(model.load_report) == f"{len(source.state_dict())} loaded"
    assert all(p.requires_grad for p in model.parameters())


def test_other_classes_get_a_new_classifier_and_are_reported(published):
    source, _ = published
    model = gatezoo.create_model("test_dignet.demo", pretrained=True, num_classes=7)
    changed = {
        "head.weight",
        "head.bias",
        "feedback.modulators.6.weigh.weight",
        "feedback.propagators.5.sources.1.weight",
    }
    assert set(model.load_report.reinitialised) == changed
    assert model(torch.randn(1, 3, 64, 64)).shape[1] == 7
    key = "backbone.net.layer1.0.conv1.weight"
    torch.testing.assert_close(model.state_dict()[key], source.state_dict()[key], atol=1e-3, rtol=1e-3)
    assert model.head.weight.std() > 1e-3, "the new classifier was left uninitialised"
    gate = model.feedback.modulators["6"].weigh
    assert gate.bias.mean().item() == pytest.approx(3, abs=0.01)


def test_other_channels_adapt_the_first_convolution(published):
    source, _ = published
    model = gatezoo.create_model("test_dignet", pretrained=True, in_chans=1)
    assert model.load_report.adapted == ["backbone.net.conv1.0.weight"]
    weight = source.state_dict()["backbone.net.conv1.0.weight"].sum(1, keepdim=True)
    torch.testing.assert_close(model.backbone.net["conv1"][0].weight, weight, atol=5e-3, rtol=1e-3)
    assert {k.split(".")[2] for k in model.load_report.reinitialised} == {"1"}
    assert model(torch.randn(1, 1, 64, 64)).shape == (1, 5, 64, 64)


def test_weights_with_other_bytes_are_refused(published):
    _, path = published
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(ValueError, match=r"must have sha256 .*: remove it and retry"):
        gatezoo.create_model("test_dignet", pretrained=True)
    path.write_bytes(data[:-1])
    with pytest.raises(ValueError, match=r"must be a file of .* bytes"):
        gatezoo.create_model("test_dignet", pretrained=True)


def test_errors_of_loading_suggest_a_fix(published):
    with pytest.raises(ValueError, match=r"fcn_resnet50_8s has no published weights yet; .*test_dignet\.demo"):
        gatezoo.create_model("fcn_resnet50_8s", pretrained=True)
    with pytest.raises(ValueError, match="weights of test_dignet have the tags demo; got 'nope'"):
        gatezoo.create_model("test_dignet.nope", pretrained=True)
    with pytest.raises(ValueError, match=r"are for backbone 'test_resnet'; got 'resnet18': leave it out or"):
        gatezoo.create_model("test_dignet", pretrained=True, backbone="resnet18")
    with pytest.raises(ValueError, match="weights must come from one place"):
        gatezoo.create_model("test_dignet", pretrained=True, checkpoint_path="x")
    with pytest.raises(ValueError, match="num_classes must be a whole number from 1 to 10000; got 0"):
        gatezoo.create_model("test_dignet", num_classes=0)


def test_bare_weights_keep_the_config_of_the_tag(published):
    _, path = published
    model = gatezoo.create_model("test_dignet.demo", checkpoint_path=path)
    assert model.pretrained_cfg.mean == (0.4, 0.5, 0.6)
    assert model.num_classes == 5


def test_weights_of_another_network_are_refused(tmp_path):
    save_file(gatezoo.create_model("test_fcn").state_dict(), tmp_path / "fcn.safetensors")
    with pytest.raises(ValueError, match=r"must be those of the network; .* missing \(feedback"):
        gatezoo.create_model("test_dignet", checkpoint_path=tmp_path / "fcn.safetensors")
    save_file(gatezoo.create_model("test_fcn", num_classes=3).state_dict(), tmp_path / "three.safetensors")
    with pytest.raises(ValueError, match=r"tensor head\.\w+ must be \(21"):
        gatezoo.create_model("test_fcn", checkpoint_path=tmp_path / "three.safetensors")
    (tmp_path / "broken.safetensors").write_bytes(b"12345678")
    with pytest.raises(ValueError, match=r"complete \.safetensors file; .*broken\.safetensors is not"):
        gatezoo.create_model("test_fcn", checkpoint_path=tmp_path / "broken.safetensors")
    with pytest.raises(ValueError, match="a checkpoint must be a file; there is none at"):
        gatezoo.create_model("test_fcn", checkpoint_path=tmp_path / "absent.safetensors")


def test_load_checkpoint_without_strict_loads_what_fits(tmp_path):
    source = gatezoo.create_model("test_fcn", num_classes=3)
    save_file(source.state_dict(), tmp_path / "w.safetensors")
    model = gatezoo.create_model("test_dignet", num_classes=4)
    report = gatezoo.load_checkpoint(model, tmp_path / "w.safetensors", strict=False)
    assert set(report.reinitialised) == {"head.weight", "head.bias"}
    assert all(name.startswith("feedback.") for name in report.missing)
    assert torch.equal(model.backbone.net["layer4"][0].conv1.weight, source.backbone.net["layer4"][0].conv1.weight)


def test_load_checkpoint_without_strict_loads_instance_models_too(tmp_path):
    source = gatezoo.create_model("test_maskrcnn_fpn", num_classes=3)
    save_file(source.state_dict(), tmp_path / "w.safetensors")
    model = gatezoo.create_model("test_maskrcnn_fpn", num_classes=4)
    report = gatezoo.load_checkpoint(model, tmp_path / "w.safetensors", strict=False)
    assert report.missing == report.unexpected == []
    assert {name.split(".")[1] for name in report.reinitialised} == {"box_predictor", "mask_predictor"}
    assert model.load_report is report


def test_keywords_that_are_none_count_as_not_given():
    model = gatezoo.create_model("test_dignet", num_classes=None, iterations=None, backbone=None, cache_dir=None)
    assert (model.num_classes, model.iterations) == (21, 2)


def test_none_means_the_same_to_create_model_on_meta_and_info(monkeypatch):
    """None of ``blocks`` gates all blocks, whatever the row has; None of ``head``, which is a text, is not given."""
    from gatezoo import registry
    from gatezoo.model_info import describe, on_meta
    from gatezoo.models.rignet import rignet

    monkeypatch.setattr(registry, "_specs", dict(registry._specs))
    keywords = dict(backbone="test_resnet", unroll="su")
    registry.register_models(rignet, {"scratch_none": dict(**keywords, blocks=None)}, family="rignet")
    registry.register_models(rignet, {"scratch_last": dict(**keywords, blocks=(-1,))}, family="rignet")
    for make in (gatezoo.create_model, on_meta):
        for name in ("scratch_none", "scratch_last"):
            model = make(name, blocks=None, head=None, gate_width=None, freeze_bn=None, output_stride=None)
            assert list(model.feedback.blocks) == [1, 2, 3, 4, 5, 6]
            assert type(model.head).__name__ == "LinearHead"
            assert (model.freeze_bn, model.backbone.output_stride) == (True, 32)
        assert list(make("scratch_last").feedback.blocks) == [6]
        with pytest.raises(ValueError, match="got 'block'"):
            make("scratch_last", block=3)
    assert describe("scratch_none")["gates"].endswith("M, blocks 1 to 6 of 6")
    assert describe("scratch_last")["gates"].endswith("M, blocks 6 to 6 of 6")
    assert "blocks=None" in describe("scratch_none")["keywords"]


def test_none_of_a_keyword_is_kept_in_a_folder(tmp_path):
    model = gatezoo.create_model("test_rignet_su", num_classes=2, blocks=None)
    gatezoo.save_pretrained(model, tmp_path / "model", ["a", "b"])
    for keywords, blocks in (({}, [1, 2, 3, 4, 5, 6]), ({"blocks": None}, [1, 2, 3, 4, 5, 6])):
        assert list(gatezoo.from_pretrained(tmp_path / "model", **keywords).feedback.blocks) == blocks


def test_none_gates_all_blocks_as_table_8_of_rignet_does():
    from gatezoo.model_info import on_meta
    from gatezoo.recipes.experiments import experiments

    experiment = experiments()["rignet_deeplabv2_r101_pu.cocostuff10k"]
    for blocks in (experiment.model_kwargs["blocks"], None):
        assert list(on_meta(experiment.model, blocks=blocks).feedback.blocks) == [1, 2, 3, 4, 5, 6]


def test_no_init_weights_draws_no_random_numbers():
    with no_init_weights():
        torch.manual_seed(0)
        model = gatezoo.model_entrypoint("test_dignet")()
        after = torch.rand(1)
    torch.manual_seed(0)
    assert torch.equal(after, torch.rand(1)), "something drew random numbers"
    # Constant initialization remains.
    assert torch.equal(model.backbone.net["bn1"].weight, torch.ones_like(model.backbone.net["bn1"].weight))


def test_loading_does_not_initialize_what_it_replaces(published):
    state = torch.get_rng_state()
    gatezoo.create_model("test_dignet", pretrained=True)
    assert torch.equal(torch.get_rng_state(), state)
    gatezoo.create_model("test_dignet", pretrained=True, num_classes=9)
    assert not torch.equal(torch.get_rng_state(), state)


def test_report_is_one_line():
    report = LoadReport(loaded=["a"], missing=[f"m{i}" for i in range(5)])
    assert str(report) == "1 loaded, 5 missing (m0, m1, m2, ...)"


def test_load_tensors_reports_unexpected_tensors():
    model = gatezoo.create_model("test_fcn")
    tensors = {**model.state_dict(), "extra": torch.zeros(1)}
    with pytest.raises(ValueError, match=r"1 unexpected \(extra\)"):
        load_tensors(model, tensors)
    assert load_tensors(model, tensors, strict=False).unexpected == ["extra"]


def test_torch_hub_entry_points():
    entry = factory.hub_entrypoints()["test_dignet"]
    assert "num_classes" in entry.__doc__
    assert entry.__doc__.count("backbone_args: further keywords of the timm model.") == 1
    assert entry(num_classes=3).num_classes == 3


def test_torch_hub_loads_from_the_checkout():
    root = pretrained.PACKAGE.parent
    model = torch.hub.load(str(root), "test_dignet", source="local", num_classes=3)
    assert model.num_classes == 3
    spec = importlib.util.spec_from_file_location("hubconf", root / "hubconf.py")
    hubconf = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(hubconf)
    public = {name for name in vars(hubconf) if not name.startswith("_")}
    assert public == {"dependencies", "create_model", *gatezoo.list_models()}


def test_checkpoint_header_is_read(tmp_path):
    state = gatezoo.create_model("test_fcn", num_classes=4).state_dict()
    save_file(state, tmp_path / "w.safetensors", header(classes="wxyz"))
    model = gatezoo.create_model("test_fcn", checkpoint_path=tmp_path / "w.safetensors")
    assert model.pretrained_cfg.name == "test_fcn.local"
    assert model.pretrained_cfg.mean == (0.1,) * 3


def test_networks_can_be_created_in_inference_mode():
    with torch.inference_mode():
        model = gatezoo.create_model("test_dignet").eval()
        assert model(torch.randn(1, 3, 64, 64)).shape == (1, 21, 64, 64)


def test_model_source_is_a_name_a_folder_or_a_repository(published, tmp_path):
    model, _ = published
    spec, cfg, saved = factory.parse_model_source("test_dignet.demo", None)
    assert (spec.name, cfg.name, saved) == ("test_dignet", "test_dignet.demo", {})
    assert factory.parse_model_source("test_fcn", None)[1:] == (None, {})
    folder = gatezoo.save_pretrained(model, tmp_path / "model", list("abcde"))
    spec, cfg, saved = factory.parse_model_source(f"LOCAL_DIR:{folder}", None)
    assert (spec.name, cfg.num_classes, saved["num_classes"]) == ("test_dignet", 5, 5)
    for name in ("folder/model", "local-dir:", "hf-hub:", "ftp:org/repo"):
        with pytest.raises(ValueError, match=r"local-dir:FOLDER or hf-hub:ORG/REPO\[@REVISION\]; got"):
            factory.parse_model_source(name, None)


def test_path_of_a_model_folder_is_a_source(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model = gatezoo.create_model("test_fcn", num_classes=3)
    for folder in ("a-model", "a/model", "test_dignet", "test_dignet.v2/a"):
        gatezoo.save_pretrained(model, folder)
    for source in ("a-model", "a/model", "./a/model", str(tmp_path / "a-model"), tmp_path / "a", "test_dignet.v2/a"):
        source = source / "model" if source == tmp_path / "a" else source
        again = gatezoo.create_model(source, pretrained=True)
        assert (again.architecture, again.num_classes) == ("test_fcn", 3)
        assert torch.equal(again.head.weight, model.head.weight)
        assert gatezoo.create_model(source).load_report is None
    # A registered name remains the model, whatever lies in the working directory.
    assert gatezoo.create_model("test_dignet").architecture == "test_dignet"


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("empty", "this folder has no config.json, local-dir:FOLDER must be one that save_pretrained wrote"),
        ("./empty", "this folder has no config.json, local-dir:FOLDER must be one that save_pretrained wrote"),
        ("org/repo", "pass hf-hub:org/repo for a repository; there is no folder of this name for local-dir:org/repo"),
        ("org/repo@main", "pass hf-hub:org/repo@main for a repository"),
        ("/no/such/folder", "there is no model folder of this name"),
        ("https://host/x", "there is no model folder of this name"),
    ],
)
def test_source_without_a_scheme_is_answered_with_the_right_one(name, advice, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"a model must be NAME, .*local-dir:FOLDER or hf-hub:") as caught:
        gatezoo.create_model(name)
    assert f"; got {name!r}: {advice}" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("keyword", "value", "ours"),
    [
        ("encoder_name", "resnet34", "backbone="),
        ("encoder_weights", "imagenet", "pretrained_backbone=True"),
        ("encoder_output_stride", 16, "output_stride="),
        ("weights_backbone", "DEFAULT", "pretrained_backbone=True"),
        ("weights", "DEFAULT", "pretrained=True"),
        ("classes", 3, "num_classes="),
        ("num_labels", 3, "num_classes="),
        ("in_channels", 1, "in_chans="),
        ("num_channels", 1, "in_chans="),
        ("aux_loss", True, "auxiliary="),
    ],
)
def test_keywords_of_other_libraries_are_answered_with_ours(keyword, value, ours):
    with pytest.raises(ValueError, match=f"got '{keyword}': use {ours}$") as caught:
        gatezoo.create_model("test_pspnet", **{keyword: value})
    assert "\n" not in str(caught.value)


def test_keywords_are_checked_before_weights_are_read(monkeypatch):
    monkeypatch.setattr(factory, "resolve_weights", lambda *_: pytest.fail("weights were looked for"))
    with pytest.raises(ValueError, match="got 'encoder_name': use backbone="):
        gatezoo.create_model("dignet_lite0_8s", pretrained=True, encoder_name="resnet18")
    # Only what the model has is advised.
    with pytest.raises(ValueError, match="got 'aux_loss'") as caught:
        gatezoo.create_model("test_fcn", aux_loss=True)
    assert "auxiliary" not in str(caught.value)
