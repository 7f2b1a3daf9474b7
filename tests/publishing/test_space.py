"""A Space of the Hub: its files, and the page that it serves from its own folder."""

import json
import os
import re
import shutil
import subprocess
import sys
import time
import urllib.request
from urllib.error import URLError

import numpy as np
import pytest
import torch
import yaml
from helpers.commands import run
from helpers.pages import free_port
from helpers.paths import ROOT
from packaging.requirements import Requirement

import gatezoo

NAME = "gff_pspnet_lite0_nodfp.nuclei"


@pytest.fixture
def model_folder(tmp_path):
    torch.manual_seed(0)
    model = gatezoo.create_model("test_fcn", num_classes=2)
    return gatezoo.save_pretrained(
        model, tmp_path / "model", ["ground", "disc"], license="Research only, https://x.org/a"
    )


@pytest.fixture
def space(model_folder, tmp_path, monkeypatch, capsys):
    code, out, err = run(
        monkeypatch,
        capsys,
        "publish",
        f"local-dir:{model_folder}",
        "--space",
        tmp_path / "space",
        "--repo",
        "org/discs",
    )
    assert code == 0, err
    assert out.strip().endswith(f"hf upload ORG/NAME {tmp_path / 'space'} --repo-type space")
    return tmp_path / "space"


def test_files_of_a_space(space, model_folder):
    files = sorted(path.relative_to(space).as_posix() for path in space.rglob("*") if path.is_file())
    model = [f"model/{name}" for name in ("README.md", "config.json", "model.safetensors")]
    assert files == ["README.md", "app.py", *model, "requirements.txt"]
    _, header, text = (space / "README.md").read_text().split("---\n", 2)
    fields = yaml.safe_load(header)
    assert (fields["title"], fields["sdk"], fields["app_file"]) == ("test_fcn.local", "gradio", "app.py")
    assert (fields["license"], fields["models"], fields["pinned"]) == ("other", ["org/discs"], False)
    assert "# test_fcn.local" in text
    assert "Research only" in text
    saved = gatezoo.create_model(f"local-dir:{space / 'model'}", pretrained=True).eval()
    source = gatezoo.create_model(f"local-dir:{model_folder}", pretrained=True).eval()
    image = np.zeros((64, 64, 3), np.uint8)
    assert np.array_equal(gatezoo.predict(saved, image), gatezoo.predict(source, image))
    assert saved.class_names == ["ground", "disc"]


def test_requirements_are_what_the_project_offers(space):
    project = (ROOT / "pyproject.toml").read_text()
    (line,) = (space / "requirements.txt").read_text().splitlines()
    required = Requirement(line)
    assert f'name = "{required.name}"' in project
    assert required.extras == {"app"}
    assert required.specifier.contains(gatezoo.__version__)
    gradio = Requirement(re.search(r'^app = \["(.*)"\]$', project, re.MULTILINE)[1])
    version = re.search(r"sdk_version: (.*)", (space / "README.md").read_text())[1]
    assert gradio.name == "gradio"
    assert gradio.specifier.contains(version)


@pytest.mark.slow
def test_space_serves_its_network_alone_from_its_own_folder(space, tmp_path):
    """In a folder elsewhere, with no variables but those that a Space has, and the installed package."""
    moved = tmp_path / "elsewhere"
    shutil.move(space, moved)
    port = free_port()
    env = {"GRADIO_SERVER_NAME": "127.0.0.1", "GRADIO_SERVER_PORT": str(port), "HF_HUB_OFFLINE": "1"}
    env |= {key: os.environ[key] for key in ("PATH", "PYTHONPATH") if key in os.environ} | {"HOME": str(tmp_path)}
    process = subprocess.Popen([sys.executable, "app.py"], cwd=moved, env=env, stderr=subprocess.PIPE, text=True)
    try:
        config, end = None, time.monotonic() + 120
        while config is None and process.poll() is None and time.monotonic() < end:
            try:
                config = json.load(urllib.request.urlopen(f"http://127.0.0.1:{port}/config"))
            except (URLError, OSError):
                time.sleep(0.5)
        assert config is not None, process.stderr.read() if process.poll() is not None else "no answer"
        assert config["title"] == "test_fcn.local"
        (model,) = [c["props"] for c in config["components"] if c["props"].get("elem_id") == "model"]
        assert model["choices"] == [["test_fcn.local", str(moved / "model")]]
        assert model["allow_custom_value"] is False
    finally:
        process.terminate()
        process.wait(30)
        process.stderr.close()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "publish takes a SOURCE with --space FOLDER"),
        ((NAME, "--yes"), "--yes is no option of a Space"),
        ((NAME, "--tag", "x"), "--tag is no option of a Space"),
        ((NAME, "--repo", "x"), "a repository must be org/name; got 'x'"),
        ((NAME, "--package", "numpy"), "the package of a Space must be gatezoo[app]"),
        ((NAME, "--package", "gatezoo[app]; \nnumpy"), "the package of a Space must be gatezoo[app]"),
        (("test_fcn",), "test_fcn has no published weights yet"),
        (("unlicensed",), "published weights must have a license; unlicensed has none: pass --license"),
    ],
)
def test_wrong_options_are_refused_and_nothing_is_written(arguments, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    gatezoo.save_pretrained(gatezoo.create_model("test_fcn", num_classes=2), "unlicensed")
    code, out, err = run(monkeypatch, capsys, "publish", *arguments, "--space", tmp_path / "space")
    assert (code, out) == (2, "")
    assert message in err
    assert len(err.strip().splitlines()) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["unlicensed"]


def test_occupied_folder_and_package_without_space_are_refused(tmp_path, monkeypatch, capsys):
    (tmp_path / "note.txt").write_text("mine")
    code, _, err = run(monkeypatch, capsys, "publish", NAME, "--space", tmp_path)
    assert code == 2
    assert "the folder of a Space must be new or empty" in err
    assert [path.name for path in tmp_path.iterdir()] == ["note.txt"]
    code, _, err = run(monkeypatch, capsys, "publish", NAME, "--package", "gatezoo[app]")
    assert code == 2
    assert "--package is an option of it" in err


def test_package_may_be_an_address(model_folder, tmp_path, monkeypatch, capsys):
    package = "gatezoo[app] @ git+https://example.org/gatezoo"
    code, _, err = run(
        monkeypatch, capsys, "publish", model_folder, "--space", tmp_path / "space", "--package", package
    )
    assert code == 0, err
    assert (tmp_path / "space/requirements.txt").read_text() == f"{package}\n"
    assert "models" not in yaml.safe_load((tmp_path / "space/README.md").read_text().split("---\n")[1])
