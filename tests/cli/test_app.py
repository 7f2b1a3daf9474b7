import dataclasses
import json
import logging
import subprocess
import sys

import numpy as np
import pytest
import torch
from helpers.commands import run
from PIL import Image

import gatezoo
from gatezoo.cli import app as cli
from gatezoo.data import FolderDataset
from gatezoo.factory import load_checkpoint
from gatezoo.recipes.experiments import experiments
from gatezoo.recipes.recipe import Recipe
from gatezoo.training.launch import train_model
from gatezoo.training.options import ModelSource, RunOptions
from gatezoo.utils import progress
from gatezoo.utils.progress import track


@pytest.fixture
def trained(shapes, tmp_path, capsys):
    recipe = Recipe(steps=2, eval_interval=2, batch_size=2, crop_size=48, amp_dtype="none")
    data = [FolderDataset(shapes, ["ground", "disc"]) for _ in range(2)]
    train_model(ModelSource("test_dignet"), *data, recipe, RunOptions(tmp_path / "trained", workers=0))
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
        (("predict", "dignet_lite0_8s.nope", "x.jpg", "--out", "o"), "have the tags camvid; got 'nope'"),
        (("predict", "dignet_lite0_8s", "absent.jpg", "--out", "o"), "there is none at absent.jpg"),
        (
            ("predict", "dignet_lite0_8s", "absent.jpg", "--out", "o", "--checkpoint", "no.pt"),
            "there is none at no.pt",
        ),
        (("info", "dignet\nresnet"), "got 'dignet\\nresnet'"),
        (("gates", "dignet_lite0_8s", "a\nb.png", "--out", "o.png"), "there is none at a b.png"),
        (("eval", "dignet_lite0_8s", "--data", "nowhere"), "must hold the folders images and labels"),
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
    # It breaks after the check of the folder.
    monkeypatch.setattr("gatezoo.data.splits.require_valid_folder", lambda *_, **__: None)
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


def test_first_of_several_processes_alone_prints(monkeypatch, capsys):
    """Also before they have found together, as in the check of a folder; each prints its errors."""

    def work(*_args):
        logging.getLogger("gatezoo").warning("images are dark")
        tracked.append(track(items, 2))
        raise ValueError("no more")

    items, tracked = range(2), []
    monkeypatch.setattr(cli, "app", work)
    monkeypatch.setattr(progress, "_draw", lambda *_: "drawn")
    for rank, warning in (("1", ""), ("0", "images are dark\n")):
        monkeypatch.setenv("RANK", rank)
        assert run(monkeypatch, capsys) == (2, "", f"{warning}gatezoo: no more\n")
    assert tracked == [items, "drawn"]


def test_error_of_a_data_worker_is_printed_without_its_traceback(monkeypatch, capsys):
    def work(*_args):
        raise ValueError("Caught ValueError in DataLoader worker process 0.\nOriginal Traceback:\nValueError: a.png\n")

    monkeypatch.setattr(cli, "app", work)
    assert run(monkeypatch, capsys) == (2, "", "gatezoo: a.png\n")


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
    assert values["initial weights"] == staged.initial_weights
    for title, part in (("recipe", staged.recipe), ("protocol", staged.protocol)):
        for field in dataclasses.fields(part):
            text = values[f"{title}.{field.name}"]
            assert text.endswith(" (assumed)") == (field.name in staged.assumed), field.name
    assert values["recipe.steps"] == f"{staged.recipe.steps} (assumed)"
    assert values["recipe.frozen_layers"] == "norm_statistics (assumed)"
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


@pytest.mark.parametrize("name", ["test_zigzag_maskrcnn", "test_depthgate_given"])
def test_info_describes_detectors_and_networks_that_take_depth(monkeypatch, capsys, name):
    code, out, err = run(monkeypatch, capsys, "info", name)
    assert (code, err) == (0, "")
    assert "GMAC" in out


def test_a_detector_starts_from_another_network(tmp_path):
    source = gatezoo.create_model("test_fpn", num_classes=2)
    gatezoo.save_pretrained(source, tmp_path / "fpn", ["a", "b"])
    model = gatezoo.create_model("test_zigzag_maskrcnn", num_classes=2)
    load_checkpoint(model, tmp_path / "fpn/model.safetensors", strict=False)
    loaded = model.backbone.state_dict()
    assert all(torch.equal(loaded[key], value) for key, value in source.backbone.state_dict().items())


def test_a_batch_with_a_broken_image_ends_with_exit_code_1(monkeypatch, capsys, trained, shapes, tmp_path):
    images = shapes / "images"
    for path in sorted(images.iterdir())[3:]:
        path.unlink()
    (images / "01.png").write_bytes(b"not an image")
    arguments = ("predict", "test_dignet", "--checkpoint", trained, images, "--out", tmp_path / "out")
    code, out, err = run(monkeypatch, capsys, *arguments, "--save-confidence", "--labels", shapes / "labels")
    assert code == 1
    assert [line.split(":")[0] for line in out.splitlines()[1:]] == ["00.png", "02.png"]
    first, last = err.strip().splitlines()
    assert first.startswith("gatezoo: an image must be in one of the formats")
    assert "01.png" in first
    assert last == "1 of 3 images could not be predicted"
    assert {path.name for path in (tmp_path / "out").glob("02*")} == {
        "02.png", "02.json", "02_overlay.jpg", "02_confidence.png", "02_instability.png", "02_errors.png",
    }  # fmt: skip
    for path in images.iterdir():
        path.write_bytes(b"not an image")
    code, out, err = run(monkeypatch, capsys, *arguments)
    assert code == 2
    assert err.splitlines()[-1] == "gatezoo: none of the 3 images could be predicted: see the lines above"
    assert len(err.splitlines()) == 4


def test_predict_scales_images_by_image_max(monkeypatch, capsys, trained, shapes, tmp_path):
    values = np.array(Image.open(shapes / "images/00.png"))[..., 0].astype(np.uint16) * 16  # 12 bits
    Image.fromarray(values).save(tmp_path / "deep.png")
    Image.fromarray((values // 16).astype(np.uint8)).save(tmp_path / "plain.png")
    maps = {}
    for name, options in (("deep", ("--image-max", 4080)), ("plain", ()), ("wrong", ("--image-max", -1))):
        image = tmp_path / ("plain.png" if name == "plain" else "deep.png")
        arguments = ("predict", "test_dignet", image, "--out", tmp_path / name, "--checkpoint", trained, *options)
        code, _, err = run(monkeypatch, capsys, *arguments, "--save-confidence")
        if name == "wrong":
            assert (code, err.count("\n")) == (2, 1)
        else:
            assert code == 0, err
            maps[name] = np.array(Image.open(tmp_path / name / f"{image.stem}_confidence.png")).astype(int)
    assert np.abs(maps["deep"] - maps["plain"]).max() < 20


def test_compare_draws_networks_side_by_side(monkeypatch, capsys, trained, shapes, tmp_path):
    image, labels, out = shapes / "images/00.png", shapes / "labels/00.png", tmp_path / "new/figure.png"
    code, text, err = run(monkeypatch, capsys, "compare", trained, trained, image, "--labels", labels, "--out", out)
    assert code == 0, err
    assert text.splitlines()[-1] == str(out)
    width, height = Image.open(out).size
    assert width > 3 * 320
    assert height > 2 * 256
    code, _, err = run(monkeypatch, capsys, "compare", trained, image, "--out", out)
    assert (code, err) == (2, "gatezoo: networks to compare must be two at least; got 1: name another before IMAGE\n")
    before = image.read_bytes()
    code, _, err = run(monkeypatch, capsys, "compare", trained, trained, image, "--out", image)
    assert code == 2
    assert "an output must not replace an input" in err
    assert image.read_bytes() == before


@pytest.mark.parametrize("command", ["predict", "gates", "compare", "eval"])
def test_a_device_that_is_not_there_is_refused_in_one_line(monkeypatch, capsys, command):
    out = ("--out", "o.png")
    arguments = {"compare": ("a", "b", "x.png", *out), "eval": ("a", "--data", ".")}.get(command, ("a", "x.png", *out))
    code, _, err = run(monkeypatch, capsys, command, *arguments, "--device", "cuda:77")
    assert code == 2
    assert err.startswith("gatezoo: device must be one of this machine's")
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("[enforce fail at alloc_cpu.cpp:127] . DefaultCPUAllocator: can't allocate memory\nframe #0"),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.\nmore"),
        RuntimeError("MPS backend out of memory (MPS allocated: 1 GB)"),
    ],
)
def test_lack_of_memory_is_one_line(monkeypatch, capsys, error):
    def fail():
        raise error

    monkeypatch.setattr(cli, "app", fail)
    code, _, err = run(monkeypatch, capsys)
    assert (code, err.count("\n")) == (2, 1)
    assert "must fit into memory, and did not" in err
    monkeypatch.setattr(cli, "app", lambda: torch.zeros(2) @ torch.zeros(3))
    with pytest.raises(RuntimeError, match="size"):
        run(monkeypatch, capsys)
