"""The best checkpoint, the end by patience, and the loss on the validation set."""

import csv
import json
import math

import pytest
import torch
from safetensors import safe_open
from torch.nn import functional as F

import gatezoo
from gatezoo.data import FolderDataset
from gatezoo.losses import make_loss
from gatezoo.recipes.recipe import Recipe
from gatezoo.training import tasks
from gatezoo.training.selection import Selection
from gatezoo.training.trainer import train
from gatezoo.training.validation_loss import ValidationLoss

SHOWN = ("miou", "pixel_accuracy", "mean_accuracy", "val_loss")


def rows(name, *values):
    return [{"step": 10 * (number + 1), name: value} for number, value in enumerate(values)]


def selection(**fields):
    return Selection(Recipe(**fields), SHOWN, (*SHOWN, "weighted_iou", "rmse"))


@pytest.mark.parametrize(
    ("fields", "name", "values", "best"),
    [
        ({}, "miou", (0.2, 0.4, 0.3), [True, True, False]),
        ({}, "miou", (0.4, 0.4, None), [True, True, False]),
        ({"best_metric": "loss"}, "val_loss", (0.2, 0.4, 0.1, math.nan), [True, False, True, False]),
        ({"best_metric": "loss"}, "val_loss", (math.nan, 0.4), [True, True]),
        ({"best_metric": "rmse"}, "rmse", (3.0, 2.0, 2.5), [True, True, False]),
        ({"best_metric": "weighted_iou"}, "weighted_iou", (0.3, 0.2), [True, False]),
    ],
)
def test_best_is_the_highest_or_the_lowest_by_the_metric(fields, name, values, best):
    history = rows(name, *values)
    chosen = selection(**fields)
    assert [chosen.is_best(history[: count + 1]) for count in range(len(history))] == best
    assert not chosen.is_best([])
    assert chosen.by_rank[0] == name
    assert set(chosen.by_rank) == set(chosen.shown)


def test_patience_counts_the_evaluations_without_a_better_score():
    chosen = selection(patience=2, eval_interval=10)
    cases = {(): False, (3,): False, (3, 2): False, (3, 2, 3): True, (1, 2, 1): False, (2, 1, 3): False}
    for scores, over in cases.items():
        assert chosen.is_over(rows("miou", *scores)) == over, scores
    assert not selection().is_over(rows("miou", 3, 2, 1, 0))


def test_score_that_the_evaluation_lacks_is_told_with_those_it_has():
    with pytest.raises(
        ValueError, match=r"best_metric must be one of miou, .*, loss, weighted_iou, rmse; got 'mask_ap'"
    ):
        selection(best_metric="mask_ap")


def trained(shapes, out, resume=False, **fields):
    data = FolderDataset(shapes, ["ground", "disc"]), FolderDataset(shapes, ["ground", "disc"])
    torch.manual_seed(0)
    model = gatezoo.create_model("test_fcn", num_classes=2)
    base = dict(batch_size=2, crop_size=32, class_weights="none", amp_dtype="none", eval_interval=1)
    return train(model, *data, out, Recipe(**{**base, **fields}), workers=0, resume=resume)


def weights_in(path):
    with safe_open(path, "pt") as file:
        return {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - not a dict


def test_training_keeps_the_best_by_loss_and_ends_by_patience(shapes, tmp_path, monkeypatch):
    losses = [0.5, 0.3, 0.4, 0.3, 0.2, 0.1]
    taken = []

    def scripted(*_):
        if len(taken) == len(losses):
            raise KeyboardInterrupt
        taken.append(losses[len(taken)])
        return dict(miou=len(taken) / 10, pixel_accuracy=0.5, mean_accuracy=0.5, val_loss=taken[-1])

    monkeypatch.setattr(tasks.SemanticTask, "evaluate", scripted)
    fields = dict(steps=20, best_metric="loss", patience=2)
    history = trained(shapes, tmp_path / "whole", **fields)["history"]
    assert [row["val_loss"] for row in history] == losses[:4]
    with safe_open(tmp_path / "whole/best.safetensors", "pt") as file:
        assert '"step": 4' in file.metadata()["gatezoo"]  # as good as that of step 2, and later
    assert [row["val_loss"] for row in csv.DictReader((tmp_path / "whole/summary.csv").open())] == list(
        map(str, losses[:4])
    )
    del losses[3:], taken[:]
    with pytest.raises(KeyboardInterrupt):
        trained(shapes, tmp_path / "two", **fields)
    losses.append(0.3)
    resumed = trained(shapes, tmp_path / "two", resume=True, **fields)
    assert resumed["history"] == history
    again = trained(shapes, tmp_path / "two", resume=True, **fields)["history"]
    assert again == history
    first, second = weights_in(tmp_path / "whole/last.safetensors"), weights_in(tmp_path / "two/last.safetensors")
    assert all(torch.equal(first[key], second[key]) for key in first)


def test_best_weights_are_those_of_their_evaluation(shapes, tmp_path, monkeypatch):
    """Not those of a save after it; if they are lost, the next evaluation's take their place."""

    def scripted(*_):
        return dict(miou=scores.pop(), pixel_accuracy=0.5, mean_accuracy=0.5, val_loss=0.5)

    def best_step():
        with safe_open(tmp_path / "out/best.safetensors", "pt") as file:
            return json.loads(file.metadata()["gatezoo"])["step"]

    scores = [0.3, 0.7, 0.5]
    monkeypatch.setattr(tasks.SemanticTask, "evaluate", scripted)
    fields = dict(steps=7, eval_interval=2, checkpoint_interval=1)
    with pytest.raises(IndexError):  # at the evaluation of step 7
        trained(shapes, tmp_path / "out", **fields)
    assert best_step() == 4
    (tmp_path / "out/best.safetensors").write_bytes(b"")
    (tmp_path / "out/best.prev.safetensors").write_bytes(b"")
    scores.append(0.1)
    trained(shapes, tmp_path / "out", resume=True, **fields)
    assert best_step() == 7


def test_unknown_names_are_told_before_anything_is_read(shapes, tmp_path, monkeypatch):
    monkeypatch.setattr(FolderDataset, "class_frequencies", lambda *_, **__: pytest.fail("data were read"))
    for fields, text in (
        (dict(best_metric="mask_ap"), "best_metric must be one of miou"),
        (dict(opt="sdg"), "opt must"),
    ):
        with pytest.raises(ValueError, match=text):
            trained(shapes, tmp_path / "out", **fields)
    assert not (tmp_path / "out").exists()


class Images:
    """Two images of different sizes, the first with an ignored half."""

    num_classes, ignore_index = 3, 255

    def __init__(self):
        generator = torch.Generator().manual_seed(0)
        sizes = (40, 64), (70, 33)
        self.samples = [
            {
                "image": torch.randint(0, 256, (3, *size), dtype=torch.uint8, generator=generator),
                "mask": torch.randint(0, 3, size, dtype=torch.uint8, generator=generator),
            }
            for size in sizes
        ]
        self.samples[0]["mask"][:20] = 255

    def __len__(self):
        return len(self.samples)

    def __getitem__(self, index):
        return self.samples[index]


@pytest.mark.parametrize("name", ["test_fcn", "test_dignet"])
def test_validation_loss_is_the_mean_over_all_pixels_of_the_last_logits(name):
    model, data, weight = gatezoo.create_model(name, num_classes=3).eval(), Images(), torch.tensor([1.0, 2.0, 5.0])
    normalize, logits, labels = model.make_normalize(), [], []
    with torch.no_grad():
        for sample in data.samples:
            found = model(normalize(sample["image"][None]))[0].flatten(1).T
            logits.append(found)
            labels.append(sample["mask"].flatten().long())
    pixels = torch.cat(logits), torch.cat(labels)
    metrics = [ValidationLoss(make_loss("cross_entropy", weight))]
    for options in ({}, {"all_iterations": True}) if name == "test_dignet" else ({},):
        scores = gatezoo.evaluate(model, data, metrics=metrics, **options).scores
        assert scores.val_loss == pytest.approx(F.cross_entropy(*pixels, weight, ignore_index=255).item(), rel=1e-5)
    both = [ValidationLoss(make_loss("cross_entropy+lovasz"))]
    lovasz = [
        make_loss("lovasz")(x.T.reshape(1, 3, *sample["mask"].shape), sample["mask"][None].long()).item()
        for x, sample in zip(logits, data.samples)
    ]
    expected = F.cross_entropy(*pixels, ignore_index=255).item() + sum(lovasz) / 2
    assert gatezoo.evaluate(model, data, metrics=both).scores.val_loss == pytest.approx(expected, rel=1e-5)
    data.samples[0]["mask"][:] = 255  # an image without labels does not count
    alone = gatezoo.evaluate(model, data, metrics=[ValidationLoss(make_loss("lovasz"))]).scores.val_loss
    assert alone == pytest.approx(lovasz[1], rel=1e-5)
