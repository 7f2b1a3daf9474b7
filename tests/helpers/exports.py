"""Networks, images and processes for tests of exported networks."""

import subprocess
import sys

import numpy as np
import torch
from PIL import Image

import gatezoo


def network(name="test_fcn", **model_kwargs):
    torch.manual_seed(0)
    return gatezoo.create_model(name, num_classes=5, **model_kwargs).eval()


def run_without(code, cwd, *packages):
    """Run Python where importing these packages raises."""
    blocked = f"import sys; sys.modules.update(dict.fromkeys({packages}))\n"
    return subprocess.run([sys.executable, "-c", blocked + code], cwd=cwd, capture_output=True, text=True)


def write_images(folder, count, model=None, size=(101, 83)):
    """Write random images; with a network, into images/, and its own predictions into labels/."""
    random = np.random.default_rng(0)
    images = folder / "images" if model else folder
    for path in (images, folder / "labels") if model else (images,):
        path.mkdir(parents=True)
    for number in range(count):
        # Of a few pixels, enlarged: noise looks the same everywhere.
        pixels = Image.fromarray(random.integers(0, 256, (4, 4, 3), dtype=np.uint8)).resize(size[::-1])
        pixels.save(images / f"{number}.png")
        if model:
            Image.fromarray(gatezoo.predict(model, pixels)).save(folder / "labels" / f"{number}.png")
    return folder
