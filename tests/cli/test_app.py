import json
import subprocess
import sys

import numpy as np
import pytest
from helpers.commands import run
from PIL import Image

import gatezoo
from gatezoo.data import FolderDataset
from gatezoo.recipes.recipe import Recipe
from gatezoo.training.launch import train_model


@pytest.fixture
def trained(shapes, tmp_path, capsys):
    recipe = Recipe(steps=2, eval_interval=2, batch_size=2, crop_size=48, amp_dtype="none")
    data = [FolderDataset(shapes, ["ground", "disc"]) for _ in range(2)]
    train_model("test_dignet", *data, tmp_path / "trained", recipe, workers=0)
    capsys.readouterr()
    return tmp_path / "trained/best.safetensors"


def test_list(monkeypatch, capsys):
    code, out, _ = run(monkeypatch, capsys, "list", "dignet_resnet50*")
    assert (code, out.split()) == (0, ["dignet_resnet50_8s", "dignet_resnet50_32s"])
    _, out, _ = run(monkeypatch, capsys, "list", "--pretrained")
    assert out.split() == gatezoo.list_pretrained()


def test_info(monkeypatch, capsys):
    code, out, _ = run(monkeypatch, capsys, "info", "dignet_resnet50_32s")
    assert code == 0
    assert "31.037 M with 21 classes" in out
    assert "7.486 M, blocks 1 to 6 of 6" in out
    assert "shallowest" in out


def test_predict_a_folder(monkeypatch, capsys, trained, shapes, tmp_path):
    out = tmp_path / "out"
    code, text, _ = run(
        monkeypatch, capsys, "predict", "test_dignet", shapes / "images", "--out", out, "--checkpoint", trained,
        "--iterations", 3, "--show-iterations",
    )  # fmt: skip
    assert code == 0
    assert len(text.splitlines()) == 24
    assert "disc" in text or "ground" in text
    assert len(list(out.iterdir())) == 4 * 24
    model = gatezoo.create_model("test_dignet", checkpoint_path=trained)
    expected = gatezoo.predict(model, shapes / "images/07.png", iterations=3)
    assert np.array_equal(np.array(Image.open(out / "07.png")), expected)
    assert set(json.loads((out / "07.json").read_text())["shares"]) <= {"ground", "disc"}


def test_train_and_eval(monkeypatch, capsys, shapes, tmp_path):
    out = tmp_path / "out"
    code, _, err = run(
        monkeypatch, capsys, "train", "test_dignet", "--data", shapes, "--val", shapes, "--out", out, "--classes",
        "ground,disc", "--steps", 2, "-b", 2, "--crop", 48, "--amp", "none", "-j", 0, "--model-kwargs", "shallowest=4",
    )  # fmt: skip
    assert code == 0, err
    record = json.loads((out / "record.json").read_text())
    code, text, _ = run(
        monkeypatch, capsys, "eval", "test_dignet", "--data", shapes, "--checkpoint", out / "best.safetensors"
    )
    assert code == 0
    figures = dict(line.rsplit("(", 1)[0].rsplit(maxsplit=1) for line in text.splitlines())
    assert float(figures["mIoU"]) == pytest.approx(record[-1]["miou"], abs=1e-4)
    assert float(figures["disc"]) == pytest.approx(record[-1]["iou"][1], abs=1e-4)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("info", "dignet_resnet50"), "Did you mean"),
        (("predict", "test_fcn", "x.jpg", "--out", "o"), "test_fcn has no published weights yet"),
        (("predict", "dignet_mobilenetv2_8s.nope", "x.jpg", "--out", "o"), "have the tags camvid; got 'nope'"),
        (("predict", "dignet_mobilenetv2_8s", "absent.jpg", "--out", "o"), "there is none at absent.jpg"),
        (
            ("predict", "dignet_mobilenetv2_8s", "absent.jpg", "--out", "o", "--checkpoint", "no.pt"),
            "there is none at no.pt",
        ),
        (("eval", "dignet_mobilenetv2_8s", "--data", "nowhere"), "must hold the folders images and labels"),
    ],
)
def test_what_a_user_can_mend_is_one_line_and_exit_code_2(monkeypatch, capsys, tmp_path, arguments, message):
    monkeypatch.chdir(tmp_path)
    code, out, err = run(monkeypatch, capsys, *arguments)
    assert code == 2
    assert message in err
    assert len(err.strip().splitlines()) == 1
    assert out == ""


def test_the_installed_command_shows_no_traceback(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "gatezoo", "info", "nope"], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_a_image_that_breaks_in_a_worker_is_one_line_too(monkeypatch, capsys, shapes, tmp_path):
    (shapes / "images/03.png").write_bytes(b"not a image")
    arguments = ["train", "test_fcn", "--data", shapes, "--val", shapes, "--out", tmp_path / "out", "--classes", "a,b"]
    code, _, err = run(monkeypatch, capsys, *arguments, "--steps", 20, "--crop", 48, "-j", 1)
    assert code == 2
    assert len(err.strip().splitlines()) == 1
    assert "03.png is not" in err
