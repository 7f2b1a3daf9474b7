"""Fixtures shared by all tests. No test needs a network or downloaded data."""

import os

# The client reads these when it is imported. Transfers are by plain HTTP: the hub of the tests supports nothing else.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ["HF_HUB_DISABLE_XET"] = "1"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"

import numpy as np
import pytest
import torch
from helpers.hub import LoopbackHub
from huggingface_hub import close_session, constants
from PIL import Image

if workers := int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", 0)):
    # Parallel test processes, and those that they start, share the cores.
    os.environ["OMP_NUM_THREADS"] = str(max(1, (os.cpu_count() or 1) // workers))
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


@pytest.fixture
def shapes(tmp_path):
    """24 images of 64 x 80, each a bright disc (class 1) on a dark ground (0); the disc's rim is 255."""
    random = np.random.default_rng(0)
    for folder in ("images", "labels"):
        (tmp_path / "shapes" / folder).mkdir(parents=True)
    y, x = np.mgrid[:64, :80]
    for number in range(24):
        center, radius = random.uniform(15, 45, 2), random.uniform(10, 20)
        distance = np.hypot(y - center[0], x - center[1])
        disc = distance < radius
        image = random.normal(60, 10, (64, 80, 3)) + 120 * disc[..., None]
        labels = np.where(np.abs(distance - radius) < 1, 255, disc)
        Image.fromarray(image.clip(0, 255).astype(np.uint8)).save(tmp_path / "shapes/images" / f"{number:02}.png")
        Image.fromarray(labels.astype(np.uint8)).save(tmp_path / "shapes/labels" / f"{number:02}.png")
    return tmp_path / "shapes"


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A hub on this machine for the real client, and an empty cache: ``hub.url``, ``hub.requests``."""
    with LoopbackHub() as loopback:
        monkeypatch.setattr(constants, "ENDPOINT", loopback.url)
        template = loopback.url + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setenv("GATEZOO_CACHE", str(tmp_path / "cache"))
        monkeypatch.setenv("HF_TOKEN", "hf_owner")
        yield loopback
    # Connections that are kept alive would be used again.
    close_session()
