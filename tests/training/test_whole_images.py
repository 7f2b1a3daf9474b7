"""Training of detectors on whole images, at the scale of the evaluation."""

import numpy as np
import pytest
import torch
from PIL import Image

import gatezoo
from gatezoo.data import FolderDataset, create_dataset
from gatezoo.recipes.recipe import Recipe
from gatezoo.training.options import RunOptions
from gatezoo.training.trainer import Trainer

SIZES = [(40, 60), (50, 44), (30, 90)]


@pytest.fixture
def cells(tmp_path):
    """Write images of unequal sizes with two instances each, in the layout of the nuclei."""
    random = np.random.default_rng(0)
    for split in ("train", "val"):
        for number, (height, width) in enumerate(SIZES):
            instances = np.zeros((height, width), np.uint16)
            instances[4:16, 3:12], instances[18:26, 20:38] = 1, 2
            for folder, array in (
                ("images", random.integers(0, 256, (height, width, 3), np.uint8)),
                ("instances", instances),
            ):
                path = tmp_path / "cells" / split / folder / f"{number}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(array).save(path)
    return tmp_path / "cells"


def trainer(cells, out, min_size=64, **fields):
    data = [create_dataset("nuclei_instances", cells, split) for split in ("train", "val")]
    model = gatezoo.create_model("test_zigzag_maskrcnn", num_classes=2, min_size=min_size, max_size=96)
    base = dict(steps=1, batch_size=3, amp_dtype="none", lr=1e-3, crop_size=32, color_jitter=0.0, short_side=64)
    return Trainer(model, *data, Recipe(**base | fields), RunOptions(out, "cpu", workers=0))


def by_size(cells):
    """The training images as they are in their files."""
    return {tuple(one["image"].shape[-2:]): one for one in create_dataset("nuclei_instances", cells, "train")}


def plain(value):
    return value.as_subclass(torch.Tensor)


def test_network_sees_whole_images_at_the_scale_of_the_evaluation(cells, tmp_path, monkeypatch):
    """Each is resized to a shorter side of 64, or to a longer one of 96 where that is less."""
    made, seen = trainer(cells, tmp_path / "out", hflip=0.0), []
    prepare = made.model._prepare
    monkeypatch.setattr(made.model, "_prepare", lambda *args: seen.append((args, prepare(*args))) or seen[-1][1])
    made.run()
    (images, targets), (batch, resized) = seen[0]
    originals = {
        tuple(sample["image"].shape[-2:]): sample for sample in create_dataset("nuclei_instances", cells, "train")
    }
    assert sorted(tuple(image.shape[-2:]) for image in images) == sorted(SIZES)
    for image, target, size, after in zip(images, targets, batch.image_sizes, resized, strict=True):
        height, width = image.shape[-2:]
        scale = min(64 / min(height, width), 96 / max(height, width))
        assert size == (int(height * scale), int(width * scale))
        assert torch.equal((image * 255).round().byte(), plain(originals[height, width]["image"]))
        assert len(target["masks"]) == 2
        torch.testing.assert_close(after["boxes"][:, 2], target["boxes"][:, 2] * size[1] / width)
    evaluated = [size for (_, given), (batch, _) in seen[1:] if given is None for size in batch.image_sizes]
    assert sorted(evaluated) == sorted(batch.image_sizes)


def test_whole_images_are_mirrored_with_their_instances(cells, tmp_path):
    made = trainer(cells, tmp_path / "out", hflip=1.0)
    images, targets = next(iter(made.loader))
    originals = {
        tuple(sample["image"].shape[-2:]): sample for sample in create_dataset("nuclei_instances", cells, "train")
    }
    for image, target in zip(images, targets, strict=True):
        original = originals[tuple(image.shape[-2:])]
        assert torch.equal(image.as_subclass(torch.Tensor), original["image"].as_subclass(torch.Tensor).flip(-1))
        assert torch.equal(
            target["masks"].as_subclass(torch.Tensor), original["masks"].as_subclass(torch.Tensor).flip(-1)
        )


def test_loss_of_a_step_is_the_sum_of_the_detectors_losses(cells, tmp_path):
    made = trainer(cells, tmp_path / "out")
    images, targets = next(iter(made.loader))
    found = []
    for run in (lambda: made.objective(images, targets), lambda: made.model([x / 255 for x in images], targets)):
        torch.manual_seed(0)  # regions are drawn
        found.append(run())
    total, losses = found
    assert len(losses) == 5
    torch.testing.assert_close(total, sum(losses.values()))


def test_crops_are_taken_without_a_short_side(cells, tmp_path):
    images, _ = next(iter(trainer(cells, tmp_path / "out", short_side=0).loader))
    assert {tuple(image.shape[-2:]) for image in images} == {(32, 32)}


def test_short_side_is_refused_where_it_cannot_be(cells, shapes, tmp_path):
    with pytest.raises(ValueError, match=r"short_side must be the network's min_size, 80, to which .*; got 64"):
        trainer(cells, tmp_path / "out", min_size=80)
    data = FolderDataset(shapes, 2)
    with pytest.raises(ValueError, match="short_side is only supported for instance segmentation; got 64: leave it"):
        Trainer(
            gatezoo.create_model("test_fcn", num_classes=2), data, data, Recipe(short_side=64), RunOptions(tmp_path)
        )
    for fields in (dict(crop_schedule="160@0,320@.5"), dict(cat_max_ratio=0.75)):
        with pytest.raises(ValueError, match="must be left out if short_side is set, since"):
            Recipe(short_side=64, **fields)
