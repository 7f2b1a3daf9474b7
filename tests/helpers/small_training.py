"""A training of a second, for tests that interrupt it, and the comparison of what it leaves."""

import csv
import resource
import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image

import gatezoo
from gatezoo.data import FolderDataset
from gatezoo.recipes.recipe import Recipe
from gatezoo.training import tasks
from gatezoo.training.options import RunOptions
from gatezoo.training.trainer import Trainer

RECIPE = dict(steps=5, batch_size=2, crop_size=32, eval_interval=2, checkpoint_interval=1, log_interval=1)
RECIPE |= dict(amp_dtype="none", class_weights="none")


def draw_images(root):
    random = np.random.default_rng(0)
    for folder, high, shape in (("images", 256, (40, 40, 3)), ("labels", 2, (40, 40))):
        (root / folder).mkdir(parents=True)
        for number in range(4):
            array = random.integers(0, high, shape, dtype=np.uint8)
            Image.fromarray(array).save(root / folder / f"{number}.png")
    return root


def score_of_weights(task, network, *_):
    """Stand in for an evaluation: it takes no time, depends on the weights alone and goes up and down."""
    score = float(network.head.weight.detach().double().sum().abs() * 1e4) % 1
    return dict.fromkeys(task.metric_names, score)


def train_small(data, out, resume=False, changes=None, with_changes=False, model="test_fcn"):
    torch.manual_seed(0)
    options = RunOptions(out, "cpu", workers=0, resume=resume, resume_with_changes=with_changes)
    recipe = Recipe(**{**RECIPE, **(changes or {})})
    tasks.SemanticTask.evaluate = score_of_weights
    network = gatezoo.create_model(model, num_classes=2)
    return Trainer(network, FolderDataset(data, 2), FolderDataset(data, 2), recipe, options).run()


def train_in_child(data, out, resume=False, changes=None, size_limit=None):
    """Train in a process of its own; the message of a refusal is written beside the folder."""
    torch.set_num_threads(1)
    if size_limit:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size_limit, resource.RLIM_INFINITY))
    try:
        train_small(data, out, resume, changes)
    except ValueError as error:
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        Path(f"{out}.refused").write_text(str(error))
        sys.exit(2)


def products(out):
    """Return everything that a training is for: the files of its folder, without their times."""
    with (out / "summary.csv").open() as file:
        rows = [{key: value for key, value in row.items() if key != "images_per_s"} for row in csv.DictReader(file)]
    names = "last.safetensors", "best.safetensors", "history.json"
    return {"summary": rows} | {name: (out / name).read_bytes() for name in names}
