"""Fields of a recipe reach the training, and mean what they are defined as."""

import csv
import itertools

import pytest
import torch

import gatezoo
from gatezoo.data import FolderDataset
from gatezoo.data.repeat import repeat_factors
from gatezoo.recipes.recipe import Recipe
from gatezoo.training.options import RunOptions
from gatezoo.training.run_folder import RunFolder
from gatezoo.training.tasks import SemanticTask
from gatezoo.training.trainer import Trainer


def trainer(shapes, out, **fields):
    data = FolderDataset(shapes, 2), FolderDataset(shapes, 2)
    base = dict(batch_size=2, crop_size=32, class_weights="none", amp_dtype="none")
    model = gatezoo.create_model("test_fcn", num_classes=2)
    return Trainer(model, *data, Recipe(**base, **fields), RunOptions(out, workers=0))


def test_training_reads_its_fields(shapes, tmp_path):
    made = trainer(shapes, tmp_path, repeat_thresh=1.0, init="linear-probe", layer_decay=0.5, steps=50)
    expected = repeat_factors(FolderDataset(shapes, 2), 1.0)
    assert made.loader.dataset.repeats.tolist() == expected.tolist()
    assert made.probe.steps == 5
    # Several processes would wait for the gradients of the backbone.
    assert made.accelerator.ddp_handler.find_unused_parameters
    assert len(set(made.base_lrs)) > 3
    frozen = trainer(shapes, tmp_path, freeze_backbone=True)
    assert not any(module.training for module in frozen.model.backbone.modules() if hasattr(module, "running_mean"))
    assert not any(parameter.requires_grad for parameter in frozen.model.backbone.parameters())


def test_fewer_images_are_trained_on(shapes, tmp_path):
    every = FolderDataset(shapes, 2)
    made = trainer(shapes, tmp_path, keep_every=5)
    assert made.train_data.images == every.images[::5]
    assert len(made.val_data) == len(every) == 24
    assert len(made.stream.data) == 5
    assert trainer(shapes, tmp_path, steps=50).train_data.images == every.images
    with pytest.raises(ValueError, match="keep_every must be at least 1; got 0"):
        Recipe(keep_every=0)


def test_rates_of_the_steps(shapes, tmp_path):
    """The log has the rate of each step, from lr on: lr (1 - step / steps)^power."""
    made = trainer(shapes, tmp_path, steps=2, log_interval=1, lr=0.5, power=1)
    made.run()
    assert made.report.rates == [("backbone", 0.5), ("new layers", 5.0)]
    rows = list(csv.DictReader((tmp_path / "summary.csv").open()))
    assert [float(row["lr"]) for row in rows] == [0.5, 0.25]


def test_average_of_the_weights_is_exponential(shapes, tmp_path, monkeypatch):
    """a_1 = w_1, then a_t = d a_(t-1) + (1 - d) w_t; buffers are averaged too."""
    saved = []
    keep = lambda _, state, *__: saved.append([{k: v.clone() for k, v in state[n].items()} for n in PARTS])  # noqa: E731
    monkeypatch.setattr(RunFolder, "save", keep)
    score = lambda task, network, *_: evaluated.append(network) or dict.fromkeys(task.metric_names, 0.5)  # noqa: E731
    monkeypatch.setattr(SemanticTask, "evaluate", score)
    made, evaluated = trainer(shapes, tmp_path, steps=4, checkpoint_interval=1, eval_interval=2, ema_decay=0.75), []
    made.run()
    assert evaluated == [made.ema_model.module] * 2
    for key in ("head.weight", "backbone.net.bn1.running_var"):
        averages = [average["module." + key] for _, average in saved]
        assert torch.equal(averages[0], saved[0][0][key])
        for (before, after), (weights, _) in zip(itertools.pairwise(averages), saved[1:], strict=True):
            torch.testing.assert_close(after, 0.75 * before + 0.25 * weights[key])
            assert not torch.equal(after, weights[key])


PARTS = ("model", "ema_model")


def test_classes_that_never_occur_are_told(shapes, tmp_path, caplog):
    data = FolderDataset(shapes, ["ground", "disc", "sky", "tree"])
    model = gatezoo.create_model("test_fcn", num_classes=4)
    with caplog.at_level("INFO", logger="gatezoo"):
        made = Trainer(model, data, data, Recipe(class_weights="inverse", amp_dtype="none"), RunOptions(tmp_path))
    assert "no labeled pixel of sky, tree in the training data" in caplog.text
    assert made.objective.loss.weight.isfinite().all()
    assert made.objective.loss.weight[2:].tolist() == pytest.approx([0, 0])
