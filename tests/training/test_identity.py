"""What a training that is continued must have in common with the one that was saved."""

import dataclasses
import json

import numpy as np
import pytest
from PIL import Image

import gatezoo
from gatezoo.data import FolderDataset, create_dataset
from gatezoo.pretrained import PretrainedCfg
from gatezoo.recipes.recipe import Recipe
from gatezoo.training.identity import check_identity, describe_data, describe_training
from gatezoo.training.options import RunOptions
from gatezoo.training.trainer import Trainer


def described(shapes, recipe=None, classes=2, model="test_dignet", model_kwargs=None, **options):
    data = FolderDataset(shapes, classes, **options)
    network = gatezoo.create_model(model, num_classes=2, **(model_kwargs or {}))
    return describe_training(network, data, data, Recipe(**(recipe or {})))


@pytest.mark.parametrize(
    ("change", "names"),
    [
        ({"recipe": {"lr": 0.5, "log_interval": 3}}, ["lr"]),
        ({"recipe": {"patience": 0, "eval_interval": 7, "checkpoint_interval": 2, "deterministic": True}}, []),
        ({"model_kwargs": {"freeze_bn": False}}, ["freeze_bn"]),
        ({"classes": ["a", "b"]}, ["classes"]),
        ({"ignore_index": 9}, ["ignore_index"]),
        ({"ids": {0: 1, 1: 0}}, ["label_format"]),
    ],
)
def test_changes_that_may_be_told_to_go_on(shapes, change, names):
    saved, present = described(shapes), described(shapes, **change)
    found = check_identity(saved, present, True)
    assert list(dict.fromkeys(line.split(" ")[0] for line in found)) == names
    if names:
        with pytest.raises(ValueError, match=f"resume must continue the same training; changed: {names[0]}"):
            check_identity(saved, present, False)
    else:
        assert check_identity(saved, present, False) == []


# What changes when a training is looked at, saved or computed in another way, and not what it learns.
FREE = {"log_interval", "checkpoint_interval", "eval_interval", "patience"}
FREE |= {"grad_checkpointing", "torchcompile", "deterministic"}


def test_all_other_fields_of_a_recipe_and_both_data_sets_count(shapes):
    data, model = FolderDataset(shapes, 2), gatezoo.create_model("test_fcn", num_classes=2)
    saved = describe_training(model, data, data, Recipe())
    assert saved["recipe"].keys() == {field.name for field in dataclasses.fields(Recipe)} - FREE
    for place, name in enumerate(("training data", "validation data")):
        sets = [data, data]
        sets[place] = data.subset(range(5))
        changes = check_identity(saved, describe_training(model, *sets, Recipe()), True)
        assert [line.partition(" (")[0] for line in changes] == [f"images of the {name}", f"files of the {name}"]


@pytest.mark.parametrize(
    "change",
    [
        {"model_kwargs": {"head": "fcn"}},
        {"recipe": {"opt": "adamw"}},
        {"recipe": {"ema_decay": 0.9}},
        {"recipe": {"layer_decay": 0.5}},
        {"recipe": {"freeze_backbone": True}},
        {"recipe": {"frozen_layers": ("stem",)}},
        {"recipe": {"trainable_prefix": "head"}},
    ],
)
def test_changes_that_no_state_can_go_on_with(shapes, change):
    with pytest.raises(ValueError, match="resume must continue with the same network and optimizer"):
        check_identity(described(shapes), described(shapes, **change), True)


def test_average_may_get_another_decay_and_new_fields_had_their_defaults(shapes):
    saved = described(shapes, {"ema_decay": 0.9})
    assert check_identity(saved, described(shapes, {"ema_decay": 0.8}), True) == ["ema_decay (0.9, now 0.8)"]
    del saved["recipe"]["layer_decay"], saved["recipe"]["scale_range"]
    assert check_identity(saved, described(shapes, {"ema_decay": 0.9}), False) == []


def test_normalization_counts_whether_it_is_given_or_that_of_the_weights(shapes, tmp_path):
    data, model = FolderDataset(shapes, 2), gatezoo.create_model("test_fcn", num_classes=2)

    def identity(cfg=None, **fields):
        model.pretrained_cfg, recipe = cfg, Recipe(class_weights="none", amp_dtype="none", **fields)
        return Trainer(model, data, data, recipe, RunOptions(tmp_path, "cpu", workers=0)).identity

    saved = identity()
    assert check_identity(saved, identity(mean=model.backbone.mean, std=model.backbone.std), False) == []
    others = identity(PretrainedCfg("test_fcn", "local", 2, (0.1,) * 3, (0.2,) * 3))
    for present in (identity(mean=(0.1,) * 3, std=(0.2,) * 3), others):
        assert [line.split(" ")[0] for line in check_identity(saved, present, True)] == ["mean", "std"]


def files_of(data):
    return describe_data(data)["files"]


def test_files_are_known_by_name_and_size(shapes):
    (shapes / "depth").mkdir()
    for path in (shapes / "labels").iterdir():
        Image.fromarray(np.ones((64, 80), np.uint16)).save(shapes / "depth" / path.name)
    known = {files_of(FolderDataset(shapes, 2, depth=0.001))}
    for folder in ("images", "labels", "depth"):
        path = shapes / folder / "03.png"
        path.write_bytes(path.read_bytes() + b"\0")
        known.add(files_of(FolderDataset(shapes, 2, depth=0.001)))
    for folder in ("images", "labels", "depth"):
        (shapes / folder / "03.png").rename(shapes / folder / "03a.png")  # at the same place
    known.add(files_of(FolderDataset(shapes, 2, depth=0.001)))
    assert len(known) == 5
    assert files_of(FolderDataset(shapes, 2, depth=0.001)) in known


def test_annotations_count_as_files(tmp_path):
    from helpers.trees import coco_semantic

    coco_semantic(tmp_path)
    before = files_of(create_dataset("coco", tmp_path, "train2017"))
    path = tmp_path / "annotations/instances_train2017.json"
    path.write_text(json.dumps(json.loads(path.read_text()), indent=1))
    assert files_of(create_dataset("coco", tmp_path, "train2017")) != before
