"""The pages: their Python runs, their links lead somewhere, and the main page is short."""

import re
import shutil
import subprocess

import numpy as np
import pytest
import torch
from helpers.paths import ROOT
from PIL import Image

import gatezoo

PAGES = sorted(
    ROOT / line for line in subprocess.check_output(["git", "ls-files", "*.md"], cwd=ROOT, text=True).split()
)
BLOCK = re.compile(r"```python\n(.*?)```", re.DOTALL)


def short(code):
    """Return the code with less to compute: one epoch, smaller crops."""
    return code.replace("range(20)", "range(1)").replace("train_transform(256", "train_transform(48")


@pytest.fixture
def place(shapes, tmp_path, monkeypatch):
    """A folder with the files that the pages name."""
    for part in ("train", "val"):
        shutil.copytree(shapes, tmp_path / "DATA" / part)
    random = np.random.default_rng(0)
    for name in ("street.jpg", "room.jpg", "cells.png"):
        Image.fromarray(random.integers(0, 256, (96, 128, 3), np.uint8)).save(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def tensors():
    """The variables that the pages take as given."""
    masks = torch.zeros(1, 96, 128, dtype=torch.uint8)
    masks[0, 10:40, 20:60] = 1
    return {
        "images": torch.randn(2, 3, 96, 128),
        "depth": torch.full((2, 96, 128), 2.0),
        "image": torch.rand(3, 96, 128),
        "boxes": torch.tensor([[20.0, 10.0, 60.0, 40.0]]),
        "labels": torch.tensor([1]),
        "masks": masks,
    }


@pytest.mark.parametrize(
    "page", [p for p in PAGES if "```python" in p.read_text()], ids=lambda p: str(p.relative_to(ROOT))
)
def test_python_of_a_page_runs(page, place):
    variables = tensors()
    for code in BLOCK.findall(page.read_text()):
        exec(compile(short(code), str(page), "exec"), variables)
    if page == ROOT / "gatezoo/training/README.md":
        model = gatezoo.create_model("local-dir:my-model", pretrained=True)
        assert model.pretrained_cfg.class_names == ("background", "nucleus")


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_links_of_a_page_lead_to_files_and_headings(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if target.startswith("http"):
            continue
        name, _, heading = target.partition("#")
        file = page.parent / name if name else page
        assert file.exists(), target
        if heading:
            titles = [line.lstrip("# ").strip() for line in file.read_text().splitlines() if line.startswith("#")]
            assert heading in {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}, target


def test_the_main_page_is_short():
    assert (ROOT / "README.md").stat().st_size <= 7 * 1024
