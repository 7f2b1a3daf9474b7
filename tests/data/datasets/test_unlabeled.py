"""Splits whose labels are secret: their images are there to be predicted, and nothing else."""

import pytest
import torch
from helpers import trees
from helpers.commands import run

import gatezoo
from gatezoo.data import create_dataset

# The images of each, in the order of the publishers' list, or of the files.
TEST_IMAGES = {
    "ade20k": ["t000", "t001"],
    "cityscapes": ["p005_000000_000019_leftImg8bit", "p006_000000_000019_leftImg8bit"],
    "voc12": ["t001", "t000"],
}
NAMES = {"ade20k": "ADE20K", "cityscapes": "Cityscapes", "voc12": "PASCAL VOC 2012"}


@pytest.fixture(params=TEST_IMAGES)
def tree(tmp_path, request):
    """(name, root) of a data set drawn in its layout."""
    trees.DRAWERS[request.param](tmp_path / "root")
    return request.param, tmp_path / "root"


def test_images_are_found_and_labels_refused(tree):
    name, root = tree
    data, labeled = create_dataset(name, root, "test"), create_dataset(name, root, "val")
    assert [image.stem for image in data.images] == TEST_IMAGES[name]
    assert all(image.is_file() for image in data.images)
    assert (data.classes, data.palette) == (labeled.classes, labeled.palette)
    for read in (lambda: data[0], lambda: data.labels(0), data.class_frequencies, lambda: data.subset([1])[0]):
        with pytest.raises(ValueError, match=r"must have labels; the test split of .* has none: predict it") as error:
            read()
        assert "\n" not in str(error.value)
    data.images[1].unlink()
    if name == "voc12":
        with pytest.raises(ValueError, match=r"1 files are missing, first .*t000\.jpg"):
            create_dataset(name, root, "test")
    else:
        data.images[0].unlink()
        with pytest.raises(ValueError, match="must hold images; this part of it has none"):
            create_dataset(name, root, "test")


@pytest.mark.parametrize("weights", ["none", "sqrt"])
def test_training_and_evaluation_are_refused_in_one_line(tree, tmp_path, monkeypatch, capsys, weights):
    name, root = tree
    data, out = ["--dataset", name, "--data-dir", root], tmp_path / "out"
    options = ["--crop", 32, "-b", 2, "-j", 1, "--device", "cpu", "--class-weights", weights, "--steps", 1]
    refusal = f"gatezoo: data to train or evaluate on must have labels; the test split of {NAMES[name]} has none"
    for split in ("--train-split", "--val-split"):
        code, _, err = run(monkeypatch, capsys, "train", "test_fcn", *data, split, "test", "--out", out, *options)
        assert code
        assert refusal in err.splitlines()[-1]
        assert "Traceback" not in err


def test_evaluation_is_refused_in_one_line(tree, tmp_path, monkeypatch, capsys):
    name, root = tree
    data = create_dataset(name, root, "test")
    gatezoo.save_pretrained(gatezoo.create_model("test_fcn", num_classes=data.num_classes), tmp_path / "model")
    arguments = ["--dataset", name, "--data-dir", root, "--split", "test", "--device", "cpu"]
    code, _, err = run(monkeypatch, capsys, "eval", f"local-dir:{tmp_path / 'model'}", *arguments)
    assert code
    assert f"must have labels; the test split of {NAMES[name]} has none" in err.splitlines()[-1]


def test_ade20k_test_beside_the_other_images(tmp_path):
    trees.ade20k(tmp_path / "ADEChallengeData2016")
    (tmp_path / "ADEChallengeData2016/release_test").rename(tmp_path / "release_test")
    images = create_dataset("ade20k", tmp_path / "ADEChallengeData2016", "test").images
    assert [image.stem for image in images] == TEST_IMAGES["ade20k"]


def test_cityscapes_test_has_depth_and_no_instances(tmp_path):
    trees.cityscapes(tmp_path)
    layer = create_dataset("cityscapes", tmp_path, "test", depth=True).layers["depth"]
    disparity = (64 * torch.arange(1, trees.WIDTH) - 1) / 256
    assert torch.allclose(torch.from_numpy(layer.read(layer.files[1]))[3, 1:], 0.2 * 2000 / disparity)
    with pytest.raises(ValueError, match="instances must be left out of the test split"):
        create_dataset("cityscapes", tmp_path, "test", instances=True)


@pytest.mark.parametrize("name", ["cityscapes", "camvid"])
def test_training_and_validation_images_in_one(tmp_path, name):
    trees.DRAWERS[name](tmp_path)
    options = {"depth": True, "instances": True} if name == "cityscapes" else {}
    train, val, both = (create_dataset(name, tmp_path, split, **options) for split in ("train", "val", "trainval"))
    assert both.images == train.images + val.images
    assert len(both) == 5
    for index, (data, number) in enumerate([(train, 0), (train, 1), (train, 2), (val, 0), (val, 1)]):
        whole, part = both[index], data[number]
        assert whole.keys() == part.keys()
        assert all(torch.equal(whole[key].nan_to_num(), part[key].nan_to_num()) for key in whole)
