"""Converted networks of torchvision give equal outputs."""

import json
import re
import subprocess
import sys

import pytest
import torch
from helpers.paths import ROOT
from safetensors import safe_open
from torchvision.models import detection, segmentation

import gatezoo

IMAGE = torch.linspace(-2, 2, 3 * 64 * 96).reshape(1, 3, 64, 96)


def torchvision_model(name, classes, aux=True):
    torch.manual_seed(5)
    model = getattr(segmentation, name)(weights=None, weights_backbone=None, num_classes=classes, aux_loss=aux)
    return randomize_norms(model).eval()


def randomize_norms(model):
    """Change the initial statistics of batch norm, so that swapped means and variances are detected."""
    for key, value in model.state_dict().items():
        if key.endswith("running_mean"):
            value.normal_(0, 0.1)
        elif key.endswith("running_var"):
            value.uniform_(0.5, 1.5)
    return model


def run(*arguments):
    done = subprocess.run(
        [sys.executable, "tools/convert.py", *map(str, arguments)], cwd=ROOT, capture_output=True, text=True
    )
    assert "Traceback" not in done.stderr
    return done


@torch.no_grad()
@pytest.mark.parametrize(
    ("name", "architecture", "aux", "dropped"),
    [
        ("fcn_resnet50", "fcn_resnet50_8s", True, 8),
        pytest.param("fcn_resnet101", "fcn_resnet101_8s", False, 0, marks=pytest.mark.slow),
        pytest.param("deeplabv3_resnet50", "deeplabv3_resnet50", True, 0, marks=pytest.mark.slow),
        pytest.param("deeplabv3_resnet101", "deeplabv3_resnet101", False, 0, marks=pytest.mark.slow),
        pytest.param("deeplabv3_mobilenet_v3_large", "deeplabv3_mobilenetv3_large", True, 8, marks=pytest.mark.slow),
    ],
)
def test_converted_logits_are_equal(tmp_path, name, architecture, aux, dropped):
    model = torchvision_model(name, 5, aux)
    torch.save(model.state_dict(), tmp_path / "w.pth")
    done = run(name, tmp_path / "w.pth", tmp_path / "w.safetensors", "--classes", "a,b,c,d,e")
    assert done.returncode == 0, done.stderr
    assert f"{architecture}, 5 classes" in done.stdout
    assert f"dropped: {dropped} " in done.stdout
    ours = gatezoo.create_model(architecture, checkpoint_path=tmp_path / "w.safetensors").eval()
    expected = model(IMAGE)
    bound = 1e-4 * expected["out"].std().item()  # through a hundred random layers numbers grow
    torch.testing.assert_close(ours(IMAGE), expected["out"], atol=bound, rtol=1e-4)
    if aux and not dropped:
        torch.testing.assert_close(ours.outputs(IMAGE).auxiliary[0], expected["aux"], atol=1e-4, rtol=1e-4)
    assert ours.pretrained_cfg.class_names == tuple("abcde")
    assert ours.pretrained_cfg.mean == (0.485, 0.456, 0.406)
    with safe_open(tmp_path / "w.safetensors", "pt") as file:
        assert json.loads(file.metadata()["gatezoo"])["architecture"] == architecture


def as_published(state):
    """Rename some convolutions and drop the norms' counters, as in the files that torchvision publishes."""
    old = {}
    for key, value in state.items():
        key = re.sub(r"(_blocks\.\d)\.0\.", r"\1.", key).replace("rpn.head.conv.0.0.", "rpn.head.conv.")
        key = re.sub(r"mask_head\.(\d)\.0\.", lambda found: f"mask_head.mask_fcn{int(found[1]) + 1}.", key)
        if not key.endswith("num_batches_tracked"):
            old[key] = value
    return old


@pytest.mark.slow
@torch.no_grad()
def test_converted_second_version_has_equal_instances(tmp_path):
    """Of images that are resized, with all norms unlike their initial state."""
    torch.manual_seed(5)
    small = dict(min_size=96, max_size=160)
    model = detection.maskrcnn_resnet50_fpn_v2(
        weights=None, weights_backbone=None, num_classes=4, box_score_thresh=0.0, **small
    )
    model = randomize_norms(model).eval()
    torch.save(model.state_dict(), tmp_path / "w.pth")
    done = run("maskrcnn_resnet50_fpn_v2", tmp_path / "w.pth", tmp_path / "w.safetensors")
    assert done.returncode == 0, done.stderr
    assert "maskrcnn_fpn_v2_r50, 4 classes" in done.stdout
    ours = gatezoo.create_model("maskrcnn_fpn_v2_r50", checkpoint_path=tmp_path / "w.safetensors", **small).eval()
    ours.score_threshold = 0.0
    images = [torch.rand(3, 80, 110), torch.rand(3, 61, 90)]
    for found, expected in zip(ours(images), model(images), strict=True):
        assert len(expected["boxes"]) > 5
        assert torch.equal(found["labels"], expected["labels"])
        torch.testing.assert_close(found["boxes"], expected["boxes"], atol=1e-3, rtol=1e-5)  # pixels
        torch.testing.assert_close(found["scores"], expected["scores"], atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(found["masks"].dense(), expected["masks"], atol=1e-5, rtol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("names", [pytest.param(dict, marks=pytest.mark.slow), as_published])
def test_converted_instances_are_equal(tmp_path, names):
    torch.manual_seed(5)
    small = dict(min_size=96, max_size=160, box_score_thresh=0.0)
    model = detection.maskrcnn_resnet50_fpn(weights=None, weights_backbone=None, num_classes=4, **small).eval()
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_var.uniform_(0.5, 1.5)
    torch.save(names(model.state_dict()), tmp_path / "w.pth")
    done = run("maskrcnn_resnet50_fpn", tmp_path / "w.pth", tmp_path / "w.safetensors")
    assert done.returncode == 0, done.stderr
    sizes = {key: small[key] for key in ("min_size", "max_size")}
    ours = gatezoo.create_model("maskrcnn_fpn_r50", checkpoint_path=tmp_path / "w.safetensors", **sizes).eval()
    ours.roi_heads.score_thresh = 0.0
    image = torch.rand(3, 96, 128)
    (found,), (expected,) = ours([image]), model([image])
    assert len(expected["boxes"]) > 5
    for key in ("boxes", "scores", "labels"):
        torch.testing.assert_close(found[key], expected[key], atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(found["masks"].dense(), expected["masks"], atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("lraspp_mobilenet_v3_large", "has none yet (it is not in the zoo)"),
        ("mask_rcnn_r50_fpn_dconv_c3-c5", "has none yet (MMDetection reads regions half a pixel aside and"),
        ("fcis_coco", "has none yet (its ResNet strides in the 1x1 convolutions, and it rounds"),
        ("unet", "must be one of torchvision's that can be converted; got 'unet'"),
    ],
)
def test_network_without_a_matching_model_is_refused(tmp_path, name, why):
    torch.save({"a": torch.zeros(1)}, tmp_path / "w.pth")
    done = run(name, tmp_path / "w.pth", tmp_path / "w.safetensors")
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 1
    assert name in done.stderr
    assert why in done.stderr
    assert "fcn_resnet50, fcn_resnet101, deeplabv3_resnet50" in done.stderr
    assert not (tmp_path / "w.safetensors").exists()


def test_tensors_of_another_network_are_refused(tmp_path):
    state = torchvision_model("fcn_resnet50", 2).state_dict()
    cases = {
        "got 'classifier.2.weight'": state | {"classifier.2.weight": torch.zeros(1)},
        "there is no classifier.4.bias": {key: value for key, value in state.items() if "classifier" not in key},
        "missing (backbone.net.conv1.weight)": {k: v for k, v in state.items() if k != "backbone.conv1.weight"},
    }
    from tools.convert import convert

    for text, tensors in cases.items():
        with pytest.raises(ValueError) as caught:  # noqa: PT011 - the message is checked below
            convert("fcn_resnet50", tensors)
        assert text in str(caught.value)
