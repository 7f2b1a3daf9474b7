import json
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import trees
from torch.utils.data import DataLoader
from torchvision import tv_tensors

from gatezoo.data import DATASETS, SegmentationDataset, create_dataset
from gatezoo.data.create import default_splits
from gatezoo.data.datasets import nyuv2, stanford2d3d
from gatezoo.data.files.matlab import open_hdf5
from gatezoo.utils.optional import require_package

SEMANTIC = sorted(set(DATASETS) - {"coco", "nuclei_instances"})
# Class -> name, for some classes of each.
NAMES = {
    "ade20k": {0: "wall", 12: "person", 149: "flag"},
    "camvid": {0: "sky", 10: "bicyclist"},
    "cityscapes": {0: "road", 13: "car", 18: "bicycle"},
    "coco_semantic": {0: "background", 1: "car", 3: "toothbrush"},
    "cocostuff10k": {0: "person", 10: "fire hydrant", 11: "stop sign", 79: "toothbrush", 80: "banner", 170: "wood"},
    "nuclei": {0: "background", 1: "nucleus"},
    "nyuv2": {0: "wall", 37: "otherstructure", 39: "otherprop"},
    "nyuv2_folder": {0: "wall", 38: "otherfurniture"},
    "pascal_context": {0: "aeroplane", 10: "diningtable", 27: "clothes", 51: "bedcloth", 58: "wood"},
    "stanford2d3d": {0: "beam", 5: "clutter", 12: "window"},
    "sunrgbd": {0: "wall", 23: "fridge", 36: "bag"},
    "voc12": {0: "background", 15: "person", 20: "tvmonitor"},
}


@pytest.fixture
def tree(tmp_path, request):
    """(name, root, known class maps) of a data set drawn in its layout."""
    return request.param, tmp_path, trees.DRAWERS[request.param](tmp_path)


def every(names):
    return pytest.mark.parametrize("tree", names, indirect=True)


def maps_of(data):
    """Read the class maps of a data set, in the form of trees.py."""
    return {image.stem: data.labels(i).numpy() for i, image in enumerate(data.images)}


def test_every_reader_has_a_tree_and_names():
    assert trees.DRAWERS.keys() == DATASETS.keys()
    assert set(SEMANTIC) == NAMES.keys()


@every(SEMANTIC)
def test_labels_are_the_known_classes(tree):
    name, root, known = tree
    for split, maps in known.items():
        data = create_dataset(name, root, split)
        found = maps_of(data)
        assert list(found) == list(maps), split
        for image, classes in maps.items():
            assert np.array_equal(found[image], classes), (split, image)
    assert {k: data.classes[k] for k in NAMES[name]} == NAMES[name]
    assert data.num_classes == len(data.classes) == len(data.palette)
    assert max(NAMES[name]) == data.num_classes - 1
    assert data.ignore_index == 255


@every(SEMANTIC)
def test_items(tree):
    name, root, known = tree
    data = create_dataset(name, root, next(iter(known)), transform=lambda sample: sample | {"transformed": True})
    item = data[0]
    assert item.keys() == {"image", "mask", "transformed"}
    assert type(item["image"]) is tv_tensors.Image
    assert type(item["mask"]) is tv_tensors.Mask
    assert item["image"].dtype == item["mask"].dtype == torch.uint8
    assert item["image"].shape == (3, *trees.SIZE)
    assert item["mask"].shape == trees.SIZE
    shares = torch.stack([torch.from_numpy(m) for m in next(iter(known.values())).values()])
    for k, share in enumerate(data.class_frequencies().tolist()):
        assert share == pytest.approx(((shares == k).sum() / (shares != 255).sum()).item()), k


@every(SEMANTIC)
def test_readers_can_be_pickled(tree):
    """As worker processes that are not forked require: open files are not among the attributes."""
    name, root, known = tree
    data = create_dataset(name, root, next(iter(known)))
    data[0]
    copy = pickle.loads(pickle.dumps(data))
    assert torch.equal(copy[1]["mask"], data[1]["mask"])


@every(["nyuv2"])
def test_hdf5_is_reopened_in_a_forked_worker(tree):
    _, root, known = tree
    data = create_dataset("nyuv2", root, "train", depth=True)
    data[0]
    loader = DataLoader(data, batch_size=None, num_workers=2, multiprocessing_context="fork")
    for item, classes in zip(loader, known["train"].values(), strict=True):
        assert np.array_equal(item["mask"], classes)
        assert np.array_equal(item["image"][0][classes < 255], classes[classes < 255])


@every(["nyuv2"])
def test_hdf5_has_a_handle_for_each_process(tree, monkeypatch):
    path = tree[1] / "nyu_depth_v2_labeled.mat"
    handle = open_hdf5(path)
    assert open_hdf5(path) is handle
    monkeypatch.setattr(os, "getpid", lambda: -1)
    assert open_hdf5(path) is not handle


@every(sorted(DATASETS))
def test_missing_folder_is_named_with_the_expected_tree(tree):
    name, root, known = tree
    split = next(iter(known))
    with pytest.raises(ValueError, match=r"must be laid out as .*ROOT/?.*; there is no .*nowhere") as error:
        create_dataset(name, root / "nowhere", split)
    assert "\n" not in str(error.value)


@every(sorted(set(DATASETS) - {"coco", "coco_semantic"}))
def test_unknown_split_is_an_error(tree):
    name, root, _ = tree
    with pytest.raises(ValueError, match=r"the split of .* must be one of .*train.*; got 'tran'. Did you mean train"):
        create_dataset(name, root, "tran")


@every(["ade20k", "cityscapes", "cocostuff10k", "coco", "nuclei", "pascal_context", "sunrgbd", "voc12"])
def test_missing_file_is_named(tree):
    name, root, known = tree
    split = next(iter(known))
    gone = create_dataset(name, root, split).images[1]
    gone.unlink()
    if name in ("ade20k", "nuclei", "cityscapes"):  # their images are listed from the folder: remove labels
        assert len(create_dataset(name, root, split)) == len(known[split]) - 1
        gone = create_dataset(name, root, split).label_files[1]
        gone.unlink()
    with pytest.raises(ValueError, match=rf"1 files are missing, first .*{gone.name}"):
        create_dataset(name, root, split)


def test_unknown_names_and_options(tmp_path):
    with pytest.raises(ValueError, match=r"one of ade20k, .*; got 'citiscapes'\. Did you mean cityscapes\?"):
        create_dataset("citiscapes", tmp_path, "train")
    with pytest.raises(ValueError, match="the options of cityscapes are depth, instances; got 'depht'"):
        create_dataset("cityscapes", tmp_path, "train", depht=True)
    with pytest.raises(ValueError, match="the options of camvid are none"):
        create_dataset("camvid", tmp_path, "train", depth=True)


def test_missing_package_is_named():
    with pytest.raises(ValueError, match=r'TIFF files needs the package nosuch: run pip install "gatezoo\[data\]"'):
        require_package("nosuch.part", "TIFF files")


@every(["voc12"])
def test_sbd_adds_images_outside_of_voc(tree, tmp_path):
    _, root, known = tree
    maps = trees.sbd(tmp_path / "sbd")
    found = maps_of(create_dataset("voc12", root, "train_aug", sbd=tmp_path / "sbd"))
    expected = known["train"] | {name: maps[name] for name in ("q1", "q2")}
    assert found.keys() == expected.keys()
    assert all(np.array_equal(found[name], expected[name]) for name in expected)


@every(["pascal_context"])
def test_context_with_background(tree):
    _, root, known = tree
    data = create_dataset("pascal_context", root, "val", background=True)
    assert (data.num_classes, data.classes[1]) == (60, "aeroplane")
    for name, classes in maps_of(data).items():
        assert np.array_equal(classes, known["val"][name] + 1)  # 255 + 1 = 0


@every(["cityscapes"])
def test_cityscapes_depth_and_instances(tree):
    _, root, _ = tree
    data = create_dataset("cityscapes", root, "train", depth=True, instances=True)
    item = data[1]
    disparity = (64 * torch.arange(trees.WIDTH, dtype=torch.float32) - 1) / 256
    assert item["depth"].dtype == torch.float32
    assert item["depth"][:, 0].isnan().all()
    assert torch.allclose(torch.as_tensor(item["depth"][5, 1:]), 0.2 * 2000 / disparity[1:])
    cars = item["mask"] == 13
    assert cars.any()
    assert (item["instance"][cars] == 26003).all()
    assert (item["instance"][~cars] == 0).all()
    assert data.instance_sizes[13] > data.instance_sizes[18]
    (root / "camera/train/aachen/p000_000000_000019_camera.json").unlink()
    with pytest.raises(ValueError, match=r"need the camera's baseline and fx; .*p000_000000_000019_camera\.json"):
        data[0]


@every(["nyuv2", "nyuv2_folder", "stanford2d3d", "sunrgbd"])
def test_depth_in_metres(tree):
    name, root, _ = tree
    columns = torch.arange(trees.WIDTH, dtype=torch.float32)
    metres = {
        "nyuv2": 1 + 7 * columns / 63,
        "nyuv2_folder": 4 * columns / 25.5,
        "stanford2d3d": 64 * columns / 512,
        "sunrgbd": (0.15 * columns).clamp(max=8),
    }[name]
    depth = create_dataset(name, root, "train", depth=True)[0]["depth"].as_subclass(torch.Tensor)
    assert depth.dtype == torch.float32
    missing = {"nyuv2": [], "nyuv2_folder": [0], "stanford2d3d": [0, 63], "sunrgbd": [0]}[name]
    assert depth.isnan().all(0).nonzero().flatten().tolist() == missing
    known = ~depth.isnan()
    assert torch.allclose(depth[known], metres.expand_as(depth)[known])


@every(["nyuv2"])
def test_inconsistent_nyu_metadata(tree):
    _, root, _ = tree
    trees.mat(root / "splits.mat", trainNdxs=np.array([1, 7]), testNdxs=np.array([2]))
    with pytest.raises(ValueError, match=r"trainNdxs in .*splits\.mat must be 1 \.\. 6"):
        create_dataset("nyuv2", root, "train")
    trees.mat(root / "classMapping40.mat", mapClass=np.arange(60))
    with pytest.raises(ValueError, match=r"mapClass must map to 1 \.\. 40; .* maps to 0 \.\. 59"):
        create_dataset("nyuv2", root, "test")


@every(["stanford2d3d"])
def test_strip_of_a_panorama(tree):
    """Rows 160 .. 863 of 1024 at half the size; of the drawn panorama, whose half has 24 rows, 4 .. 19."""
    _, root, _ = tree
    strip, whole = (create_dataset("stanford2d3d", root, "val", depth=True, strip=cut) for cut in (True, False))
    for index, item in enumerate(strip):
        other = whole[index]
        assert item["image"].shape == (3, 16, 32)
        assert torch.equal(item["mask"], other["mask"][8:40:2, ::2])
        assert torch.equal(strip.labels(index), item["mask"])
        assert torch.equal(item["depth"].nan_to_num(-1), other["depth"][8:40:2, ::2].nan_to_num(-1))
        blocks = torch.nn.functional.avg_pool2d(other["image"].float(), 8)  # antialiasing blurs the edges of blocks
        assert torch.equal(item["image"].float()[:, 2::4, 2::4], blocks[:, 1:5])
    with pytest.raises(ValueError, match="strip must be of panoramas; got kind='data': leave it out"):
        create_dataset("stanford2d3d", root, "val", kind="data", strip=True)


def test_strip_and_crop_have_the_published_sizes():
    """Rows 160 to 863 of a panorama (Sec. 6.1); rows 46 to 470 and columns 41 to 600, from 1, of a frame."""
    panorama, frame = (np.arange(height * 2 * 1024).reshape(height, -1) for height in (1024, 480))
    frame = frame[:, :640]

    def kept(values, cuts):
        data = SegmentationDataset([Path("x")], [Path("x")], 2, decode=lambda path: values).cropped(*cuts)
        return data._decode(Path("x"))

    assert np.array_equal(kept(panorama, (stanford2d3d.STRIP,)), panorama[160:864])
    assert np.array_equal(kept(frame, nyuv2.CROP), frame[45:470, 40:600])


@every(["nyuv2"])
def test_border_of_a_frame_is_left_out(tree):
    """Of the drawn frames of 48 x 64: rows 4 (4.5, rounded to even) to 46, columns 4 to 59."""
    _, root, _ = tree
    inner, whole = (create_dataset("nyuv2", root, "train", depth=True, crop=cut)[1] for cut in (True, False))
    assert inner["mask"].shape == (43, 56)
    for key in inner:
        assert torch.equal(inner[key], whole[key][..., 4:47, 4:60])


@every(["cocostuff10k"])
def test_broken_or_unexpected_mat_file_is_named(tree):
    _, root, _ = tree
    data = create_dataset("cocostuff10k", root, "train")
    data.label_files[0].write_bytes(b"not a MATLAB file")
    with pytest.raises(ValueError, match=r"MATLAB file .*p000\.mat cannot be read"):
        data.labels(0)
    trees.mat(data.label_files[1], T=np.zeros(trees.SIZE))
    with pytest.raises(ValueError, match=r"must hold the variable S; .*p001\.mat does not"):
        data.labels(1)
    trees.mat(data.label_files[2], S=np.full(trees.SIZE, 183, dtype=np.uint8))
    with pytest.raises(ValueError, match=r"one of the ids 0, 1, 2, 3, 4, 5, 6, 7 \.\.\. 182; .*p002\.mat holds 183"):
        data.labels(2)


@every(["stanford2d3d"])
def test_ids_outside_the_table_are_errors(tree):
    _, root, _ = tree
    data = create_dataset("stanford2d3d", root, "val")
    trees.save(data.label_files[0], np.full((*trees.SIZE, 3), 255, dtype=np.uint8))
    with pytest.raises(ValueError, match=r"_semantic\.png holds 16777215"):
        data.labels(0)
    names = root / "assets" / "semantic_labels.json"
    names.write_text(json.dumps(["lamp_1_office_1_1"]))
    with pytest.raises(ValueError, match=r"must list objects as CLASS_\.\.\.; .*semantic_labels\.json"):
        create_dataset("stanford2d3d", root, "val")


@pytest.mark.parametrize("name", trees.DRAWERS)
def test_default_splits_are_labeled_and_apart(name, tmp_path):
    trees.DRAWERS[name](tmp_path)
    train, val = (create_dataset(name, tmp_path, split) for split in default_splits(name))
    assert len(train) > 0
    assert len(val) > 0
    # Frames of one file, as of NYU-Depth-v2, have names that no file has.
    names = [{str(path) for path in data.images} for data in (train, val)]
    assert not names[0] & names[1]
