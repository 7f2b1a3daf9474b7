"""Networks of torchvision become rows of the zoo, with equal logits."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from torchvision.models import segmentation

import gatezoo

ROOT = Path(__file__).parent.parent
IMAGE = torch.linspace(-2, 2, 3 * 64 * 96).reshape(1, 3, 64, 96)


def theirs(name, classes, aux=True):
    torch.manual_seed(5)
    model = getattr(segmentation, name)(weights=None, weights_backbone=None, num_classes=classes, aux_loss=aux).eval()
    for key, value in model.state_dict().items():
        # Statistics that batch norm does not have by itself, so that a mean and a variance that were mixed up show.
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
@pytest.mark.parametrize(("name", "aux"), [("fcn_resnet50", True), ("fcn_resnet101", False)])
def test_logits_are_equal(tmp_path, name, aux):
    model = theirs(name, 5, aux)
    torch.save(model.state_dict(), tmp_path / "w.pth")
    done = run(name, tmp_path / "w.pth", tmp_path / "w.safetensors", "--classes", "a,b,c,d,e")
    assert done.returncode == 0, done.stderr
    assert f"{name}_8s, 5 classes" in done.stdout
    assert f"left out: {8 if aux else 0} " in done.stdout
    ours = gatezoo.create_model(f"{name}_8s", checkpoint_path=tmp_path / "w.safetensors").eval()
    torch.testing.assert_close(ours(IMAGE), model(IMAGE)["out"], atol=1e-4, rtol=1e-4)
    assert ours.pretrained_cfg.class_names == list("abcde")
    assert ours.pretrained_cfg.mean == [0.485, 0.456, 0.406]
    with safe_open(tmp_path / "w.safetensors", "pt") as file:
        assert json.loads(file.metadata()["gatezoo"])["model"] == f"{name}_8s"


@pytest.mark.parametrize("name", ["deeplabv3_resnet50", "deeplabv3_resnet101", "maskrcnn_resnet50_fpn", "unet"])
def test_what_has_no_row_is_refused(tmp_path, name):
    torch.save({"a": torch.zeros(1)}, tmp_path / "w.pth")
    done = run(name, tmp_path / "w.pth", tmp_path / "w.safetensors")
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 1
    assert name in done.stderr
    assert "fcn_resnet50, fcn_resnet101 can be" in done.stderr
    assert ("has none yet" in done.stderr) == (name != "unet")
    assert not (tmp_path / "w.safetensors").exists()


def test_tensors_of_another_network_are_refused(tmp_path):
    state = theirs("fcn_resnet50", 2).state_dict()
    cases = {
        "got 'classifier.2.weight'": state | {"classifier.2.weight": torch.zeros(1)},
        "there is no classifier.4.bias": {key: value for key, value in state.items() if "classifier" not in key},
        "missing (backbone.net.conv1.weight)": {k: v for k, v in state.items() if k != "backbone.conv1.weight"},
    }
    from tools.convert import convert

    for text, tensors in cases.items():
        with pytest.raises(ValueError) as caught:  # noqa: PT011 - the text is looked at below
            convert("fcn_resnet50", tensors)
        assert text in str(caught.value)
