import json
import logging
import subprocess
import sys

import numpy as np
import pytest
from helpers.commands import run
from PIL import Image

import gatezoo
from gatezoo.cli import app as cli
from gatezoo.data import FolderDataset
from gatezoo.recipes.experiments import experiments
from gatezoo.recipes.recipe import Recipe
from gatezoo.training.launch import train_model
from gatezoo.training.options import RunOptions


@pytest.fixture
def trained(shapes, tmp_path, capsys):
    recipe = Recipe(steps=2, eval_interval=2, batch_size=2, crop_size=48, amp_dtype="none")
    data = [FolderDataset(shapes, ["ground", "disc"]) for _ in range(2)]
    train_model("test_dignet", *data, recipe, RunOptions(tmp_path / "trained", workers=0))
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
    assert len(text.splitlines()) == 1 + 24
    assert "disc" in text or "ground" in text
    assert len(list(out.iterdir())) == 4 * 24
    model = gatezoo.create_model("test_dignet", checkpoint_path=trained)
    expected = gatezoo.predict(model, shapes / "images/07.png", iterations=3)
    assert np.array_equal(np.array(Image.open(out / "07.png")), expected)
    assert set(json.loads((out / "07.json").read_text())["shares"]) <= {"ground", "disc"}


def test_train_and_eval(monkeypatch, capsys, shapes, tmp_path):
    out = tmp_path / "out"
    code, _, err = run(
        monkeypatch, capsys, "train", "test_dignet", "--data-dir", shapes, "--val", shapes, "--out", out, "--classes",
        "ground,disc", "--steps", 2, "-b", 2, "--crop", 48, "--amp", "none", "-j", 0, "--model-kwargs", "shallowest=4",
    )  # fmt: skip
    assert code == 0, err
    record = json.loads((out / "history.json").read_text())
    code, text, _ = run(
        monkeypatch, capsys, "eval", "test_dignet", "--data-dir", shapes, "--checkpoint", out / "best.safetensors"
    )
    assert code == 0
    scores = dict(line.rsplit("(", 1)[0].rsplit(maxsplit=1) for line in text.splitlines())
    assert float(scores["mIoU"]) == pytest.approx(record[-1]["miou"], abs=1e-4)
    assert float(scores["disc"]) == pytest.approx(record[-1]["iou"][1], abs=1e-4)


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
def test_user_errors_are_one_line_and_exit_code_2(monkeypatch, capsys, tmp_path, arguments, message):
    monkeypatch.chdir(tmp_path)
    code, out, err = run(monkeypatch, capsys, *arguments)
    assert code == 2
    assert message in err
    assert len(err.strip().splitlines()) == 1
    assert out == "" or out.startswith("running on ")


def test_command_shows_no_traceback(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "gatezoo", "info", "nope"], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_broken_image_in_a_worker_is_one_line(monkeypatch, capsys, shapes, tmp_path):
    (shapes / "images/03.png").write_bytes(b"not an image")
    arguments = ["train", "test_fcn", "--data", shapes, "--val", shapes, "--out", tmp_path / "out", "--classes", "a,b"]
    code, _, err = run(monkeypatch, capsys, *arguments, "--steps", 20, "--crop", 48, "--amp", "none", "-j", 1)
    assert code == 2
    assert len(err.strip().splitlines()) == 1
    assert "03.png is not" in err


def test_debug_mode_raises_the_error(monkeypatch, capsys):
    monkeypatch.setenv("GATEZOO_DEBUG", "1")
    with pytest.raises(ValueError, match="got 'nope'"):
        run(monkeypatch, capsys, "info", "nope")
    monkeypatch.setenv("GATEZOO_DEBUG", "0")
    assert run(monkeypatch, capsys, "info", "nope")[0] == 2


def test_version(monkeypatch, capsys):
    assert run(monkeypatch, capsys, "--version") == (0, f"gatezoo {gatezoo.__version__}\n", "")


def test_env_prints_versions_and_no_token(monkeypatch, capsys):
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    code, out, _ = run(monkeypatch, capsys, "env")
    values = dict(line.split(maxsplit=1) for line in out.splitlines())
    assert code == 0
    assert values["gatezoo"] == gatezoo.__version__
    assert values["HF_HUB_OFFLINE"] == "1"
    assert {"Python", "torch", "timm", "huggingface_hub", "torchmetrics", "CUDA", "MPS"} <= values.keys()
    assert "secret" not in out


def test_messages_go_to_stdout_and_warnings_to_stderr(monkeypatch, capsys):
    def log(*_args):
        logging.getLogger("gatezoo").info("step 1: loss 0.5")
        logging.getLogger("gatezoo.hub").warning("retry in 1 s")
        logging.getLogger("gatezoo").debug("detail")

    monkeypatch.setattr(cli, "app", log)
    for _ in range(2):  # the handler is added once
        assert run(monkeypatch, capsys) == (0, "step 1: loss 0.5\n", "retry in 1 s\n")


def test_recipes_lists_all_experiments(monkeypatch, capsys):
    code, out, _ = run(monkeypatch, capsys, "recipes")
    assert code == 0
    assert [line.split()[0] for line in out.splitlines()] == list(experiments())
    assert "not measured" in out


def test_recipes_prints_one_experiment_with_its_assumed_values(monkeypatch, capsys):
    staged = next(experiment for experiment in experiments().values() if experiment.stages and experiment.assumed)
    code, out, _ = run(monkeypatch, capsys, "recipes", staged.name)
    assert code == 0
    values = {line[:30].strip(): line[31:] for line in out.splitlines()}
    assert values["name"] == staged.name
    assert values["model"] == staged.model
    assert values["assumed"] == f"{', '.join(staged.assumed)} (not given in the paper)"
    assert values["recipe.steps"] == str(staged.recipe.steps)
    assert values["stage 1"].startswith(staged.stages[0].name)


def test_misspelt_recipe_is_suggested_and_the_others_are_not_listed(monkeypatch, capsys):
    name = next(iter(experiments()))
    code, _, err = run(monkeypatch, capsys, "recipes", name[:-1])
    assert code == 2
    assert name in err
    assert len(err) < 400
    code, _, err = run(monkeypatch, capsys, "recipes", "zzz")
    assert code == 2
    assert "'gatezoo recipes' lists" in err
    assert len(err) < 400
