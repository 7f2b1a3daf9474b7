"""Figures of a training, and its trackers."""

import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.randomize import randomize
from PIL import Image
from safetensors.torch import load_file

import gatezoo
from gatezoo.data import FolderDataset
from gatezoo.recipes.recipe import Recipe
from gatezoo.training.kept_predictions import KeptPredictions
from gatezoo.training.launch import train_model
from gatezoo.training.options import ModelSource, RunOptions
from gatezoo.training.report import RunReport
from gatezoo.training.trackers import named_scalars
from gatezoo.visualization import training as figures
from gatezoo.visualization.overlay import HIGHLIGHT_COLOR
from gatezoo.visualization.training import depth_range, error_tile, instance_error_tile, label_tile


def run(shapes, out):
    recipe = Recipe(batch_size=4, crop_size=48, class_weights="none", amp_dtype="none", steps=4, eval_interval=2)
    data = [FolderDataset(shapes, ["ground", "disc"]) for _ in range(2)]
    return train_model(ModelSource("test_fcn"), *data, recipe, RunOptions(out, workers=0))


def test_figures_are_drawn_and_change_nothing_and_never_end_a_training(shapes, tmp_path, monkeypatch, caplog):
    caplog.set_level(logging.INFO, "gatezoo")
    run(shapes, tmp_path / "with")
    for name in ("samples", "predictions", "curves"):
        assert min(Image.open(tmp_path / f"with/{name}.png").size) > 300, name

    def fail(*_):
        torch.rand(3)
        raise RuntimeError("no\nroom")

    for name in ("_semantic_samples", "_semantic_predictions"):
        monkeypatch.setattr(RunReport, name, fail)
    with caplog.at_level(logging.INFO, "gatezoo"):
        run(shapes, tmp_path / "without")
    assert next(line for line in caplog.messages if "not drawn" in line) == "samples.png was not drawn: 'no room'"
    assert not (tmp_path / "without/samples.png").exists()
    first, second = (load_file(tmp_path / folder / "last.safetensors") for folder in ("with", "without"))
    assert all(torch.equal(first[key], second[key]) for key in first)


def test_predictions_of_evenly_spread_images_are_kept(shapes):
    data = FolderDataset(shapes, ["ground", "disc"])
    data = data.subset([number % len(data) for number in range(20)])
    model = randomize(gatezoo.create_model("test_fcn", num_classes=2)).eval()
    kept = KeptPredictions(len(data))
    gatezoo.evaluate(model, data, metrics=[kept])
    assert list(kept.by_index) == [0, 2, 5, 7, 10, 12, 15, 17]
    for index, found in kept.by_index.items():
        assert np.array_equal(found["classes"], gatezoo.predict(model, data.images[index]))


HISTORY, TITLES = [{"step": 2, "miou": 0.5}], {"miou": "mIoU"}


def test_curves_show_the_rates_of_all_groups(monkeypatch):
    drawn = []
    monkeypatch.setattr(figures, "figure_to_image", lambda figure: drawn.append(figure.axes[1]))
    log = [{"step": step, "loss": 1.0, "lr": lr} for step, lr in ((1, 0.1), (2, 0.05))]
    groups = [("backbone", 0.2), ("backbone", 0.4), ("new layers", 2.0)]
    figures.curves_figure(log, HISTORY, TITLES, groups)
    assert np.array([line.get_ydata() for line in drawn[0].lines]) == pytest.approx(
        np.array([[0.1, 0.05], [0.2, 0.1], [1, 0.5]])
    )
    assert [text.get_text() for text in drawn[0].get_legend().get_texts()] == ["backbone", "new layers"]
    figures.curves_figure(log, HISTORY, TITLES, [("new layers", 0.0)])
    assert len(drawn[1].lines) == 1


def test_samples_are_drawn_once(shapes, tmp_path):
    (tmp_path / "out").mkdir()
    kept = tmp_path / "out/samples.png"
    kept.write_bytes(b"the first")
    run(shapes, tmp_path / "out")
    assert kept.read_bytes() == b"the first"


def test_errors_are_marked_and_ignored_pixels_are_not():
    image, labels = torch.full((3, 40, 40), 100, dtype=torch.uint8), torch.zeros(40, 40, dtype=torch.uint8).numpy()
    classes = labels.copy()
    classes[:20], labels[:10], labels[-10:] = 1, 255, 1
    tile = error_tile(image, labels, classes, 255)
    assert [tile.getpixel((5, y)) == HIGHLIGHT_COLOR for y in (5, 15, 25, 35)] == [False, True, False, True]
    palette = ((10, 20, 30), (200, 0, 0))
    drawn = label_tile(image, labels, palette, 255)
    assert {drawn.getpixel((x, 5)) for x in range(40)} == {(255, 255, 255), (120, 120, 120)}  # hatched


def test_an_instance_is_found_once():
    masks = torch.zeros(3, 20, 20, dtype=torch.bool)
    masks[0, :8, :8] = masks[1, :8, :9] = masks[2, 12:, 12:] = True
    image, ones = torch.zeros(3, 20, 20, dtype=torch.uint8), torch.ones(3, dtype=torch.int64)
    found = {"masks": masks[:2], "labels": ones[:2]}
    truth = {"masks": masks[[0, 2]], "labels": ones[:2]}
    tile, hits = instance_error_tile(image, truth, found)
    assert hits == 1
    assert tile.getpixel((15, 15)) == HIGHLIGHT_COLOR  # missed
    assert instance_error_tile(image, truth, {"masks": masks[:2], "labels": 2 * ones[:2]})[1] == 0


def test_depth_without_a_known_pixel_has_a_range():
    assert depth_range([torch.full((2, 2), torch.nan).numpy()]) == (1, 2)


@pytest.mark.parametrize(
    ("name", "message"), [("tensorbord", "one of .*tensorboard"), ("comet_ml", "pip install comet")]
)
def test_unknown_and_missing_trackers_are_told_before_any_work(name, message, tmp_path):
    with pytest.raises(ValueError, match=f"log_with must be .*{message}"):
        RunOptions(tmp_path / "out", log_with=name)
    assert not (tmp_path / "out").exists()


def test_trackers_get_no_empty_values():
    row = {"step": 3, "loss": 0.5, "lr": 0.1, "images_per_s": 9.0, "miou": None, "val_loss": 0.2}
    scalars = {"train/loss": 0.5, "train/learning_rate": 0.1, "train/images_per_second": 9.0, "val/loss": 0.2}
    assert named_scalars(row) == scalars


def test_trackio_gets_scalars_recipe_and_figures(shapes, tmp_path, monkeypatch):
    trackio = pytest.importorskip("trackio", reason="trackio is not installed")
    logged = []
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))
    log = trackio.Run.log
    monkeypatch.setattr(trackio.Run, "log", lambda self, values, **kw: logged.append(values) or log(self, values, **kw))
    recipe = Recipe(batch_size=2, crop_size=48, class_weights="none", amp_dtype="none", steps=1)
    data = FolderDataset(shapes, ["ground", "disc"])
    train_model(
        ModelSource("test_fcn"), data, data, recipe, RunOptions(Path(tmp_path / "out"), workers=0, log_with="trackio")
    )
    assert {"train/loss", "val/miou", "samples", "predictions", "curves"} <= {key for one in logged for key in one}
