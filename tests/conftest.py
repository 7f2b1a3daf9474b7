"""Fixtures shared by all tests. Nothing here or below needs a network or downloaded data."""

import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import numpy as np
import pytest
import torch
from PIL import Image


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


@pytest.fixture
def shapes(tmp_path):
    """24 pictures of 64 x 80, a bright disc (class 1) on a dark ground (0) each; the disc's rim is 255."""
    random = np.random.default_rng(0)
    for folder in ("images", "labels"):
        (tmp_path / "shapes" / folder).mkdir(parents=True)
    y, x = np.mgrid[:64, :80]
    for number in range(24):
        centre, radius = random.uniform(15, 45, 2), random.uniform(10, 20)
        distance = np.hypot(y - centre[0], x - centre[1])
        disc = distance < radius
        picture = random.normal(60, 10, (64, 80, 3)) + 120 * disc[..., None]
        labels = np.where(np.abs(distance - radius) < 1, 255, disc)
        Image.fromarray(picture.clip(0, 255).astype(np.uint8)).save(tmp_path / "shapes/images" / f"{number:02}.png")
        Image.fromarray(labels.astype(np.uint8)).save(tmp_path / "shapes/labels" / f"{number:02}.png")
    return tmp_path / "shapes"
