import json
import pickle

import numpy as np
import pytest
import torch
from helpers import trees
from PIL import Image
from torch import Tensor
from torchvision import tv_tensors

from gatezoo.data import CocoInstances, coco_masks, create_dataset, detection_collate
from gatezoo.data.transforms import train_transform


@pytest.fixture
def coco(tmp_path):
    return tmp_path, trees.coco_semantic(tmp_path)


def change(root, edit):
    """Edit the JSON file of the training split."""
    path = root / "annotations/instances_train2017.json"
    content = json.loads(path.read_text())
    edit(content)
    path.write_text(json.dumps(content))
    return path


def test_instances(coco):
    root, known = coco
    data = create_dataset("coco", root, "train2017")
    assert data.classes == ("background", "car", "train", "toothbrush")
    assert (data.num_classes, data.category_ids) == (4, (0, 3, 7, 90))
    assert [image.stem for image in data.images] == sorted(known["train2017"])
    item = data[1]
    assert item.keys() == {"image", "boxes", "labels", "masks", "iscrowd", "image_id"}
    assert type(item["boxes"]) is tv_tensors.BoundingBoxes
    assert item["boxes"].format is tv_tensors.BoundingBoxFormat.XYXY
    assert item["boxes"].tolist() == [[20, 12, 30, 20], [12, 8, 42, 28], [4, 40, 60, 46]]
    assert item["labels"].tolist() == [3, 1, 2]
    assert item["iscrowd"].tolist() == [0, 0, 1]
    assert item["image_id"] == 101
    classes = torch.from_numpy(known["train2017"]["000000000101"])
    assert item["masks"].dtype == torch.bool
    assert torch.equal(item["masks"][0].as_subclass(Tensor), classes == 3)
    assert torch.equal(item["masks"][1].as_subclass(Tensor), (classes == 1) | (classes == 3))


def test_images_without_instances_are_kept(coco):
    item = create_dataset("coco", coco[0], "train2017")[2]
    assert item["boxes"].shape == (0, 4)
    assert item["labels"].shape == (0,)
    assert item["masks"].shape == (0, *trees.SIZE)


def test_boxes_are_clipped_and_empty_ones_left_out(coco):
    root, _ = coco

    def edit(content):
        first, second = content["annotations"][:2]
        first["bbox"] = [60, 40, 10, 20]
        second["bbox"] = [10, 10, 0, 5]

    change(root, edit)
    item = create_dataset("coco", root, "train2017")[0]
    assert item["boxes"].tolist() == [[60, 40, 64, 48], [4, 40, 60, 46]]
    assert item["labels"].tolist() == [3, 2]


def test_semantic_masks_without_background(coco):
    root, known = coco
    data = coco_masks(root / "annotations/instances_val2017.json", root / "val2017", background=False)
    assert data.classes == ("car", "train", "toothbrush")
    for i, classes in enumerate(known["val2017"].values()):
        assert np.array_equal(data.labels(i), np.where(classes == 0, 255, classes - 1))


def test_annotations_beside_the_images(coco):
    root, _ = coco
    path = root / "annotations/instances_val2017.json"
    path.rename(root / "instances_val2017.json")
    assert len(create_dataset("coco", root, "val2017")) == 2


def test_run_lengths_as_lists_and_parts(coco):
    """An instance may have several polygons; its run lengths may be a list of numbers, as those of crowds."""
    root, _ = coco

    def edit(content):
        a, b = content["annotations"][:2]
        a["segmentation"] = [[0, 0, 4, 0, 4, 4, 0, 4], [10, 10, 13, 10, 13, 13, 10, 13]]
        b["segmentation"] = {"size": list(trees.SIZE), "counts": [48, 3, 48 * 64 - 51]}

    change(root, edit)
    masks = create_dataset("coco", root, "train2017")[0]["masks"]
    assert masks[0].sum() == 16 + 9
    assert masks[1].nonzero().tolist() == [[0, 1], [1, 1], [2, 1]]


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda c: c.pop("images"), r"must hold images, annotations and categories; .*train2017\.json does not"),
        (lambda c: c.update(images=3), "does not: it has no list of images"),
        (lambda c: c["images"][0].update(id=[1]), "images of COCO annotations must have id"),
        (lambda c: c["images"][0].pop("width"), "images of COCO annotations must have width"),
        (lambda c: c["annotations"][0].update(bbox=[1, 2]), "annotations of COCO annotations must have bbox"),
        (lambda c: c["annotations"][0].update(category_id=5), "annotation 0 has category 5"),
        (lambda c: c["annotations"][0].update(image_id=7), "some are of image 7"),
        (lambda c: c["images"][0].update(file_name="/etc/passwd"), r"file_name must be .* has '/etc/passwd'"),
        (
            lambda c: c["images"][0].update(file_name="a/../../x.jpg"),
            r"folder of the images; .* has 'a/\.\./\.\./x\.jpg'",
        ),
        (lambda c: c["images"][0].update(file_name="..\\x.jpg"), r"file_name must be"),
        (lambda c: c["images"][0].update(file_name="C:\\x.jpg"), r"file_name must be"),
        (lambda c: c["images"][0].pop("file_name"), r"file_name must be .* has None"),
        (lambda c: c["images"][0].update(file_name="x.jpg"), r"1 files are missing, first .*x\.jpg"),
    ],
)
def test_inconsistent_annotations(coco, edit, message):
    change(coco[0], edit)
    with pytest.raises(ValueError, match=message):
        create_dataset("coco", coco[0], "train2017")


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda c: c["annotations"][1].update(segmentation=[]), "annotation 1 in .* no polygon of three points"),
        (lambda c: c["annotations"][1].update(segmentation=[[1, 2, 3, 4]]), r"\(000000000100\.jpg\) cannot be drawn"),
        (
            lambda c: c["annotations"][1].update(segmentation={"size": [2, 2], "counts": [1, 3]}),
            r"annotation 1 in .* is \(2, 2\), 000000000100\.jpg \(48, 64\)",
        ),
    ],
)
def test_segmentations_that_cannot_be_drawn(coco, edit, message):
    change(coco[0], edit)
    with pytest.raises(ValueError, match=message):
        create_dataset("coco", coco[0], "train2017")[0]


def test_image_of_another_size(coco):
    change(coco[0], lambda content: content["images"][-1].update(height=50))
    with pytest.raises(ValueError, match=r"000000000100\.jpg is \(48, 64\), in .*\(50, 64\)"):
        create_dataset("coco", coco[0], "train2017")[0]


def test_missing_or_broken_json(tmp_path):
    with pytest.raises(ValueError, match=r"must be a JSON file; there is none at .*a\.json"):
        CocoInstances(tmp_path / "a.json", tmp_path)
    (tmp_path / "a.json").write_text("{")
    with pytest.raises(ValueError, match=r"a\.json does not"):
        CocoInstances(tmp_path / "a.json", tmp_path)


def test_semantic_masks_of_images_outside_the_folder(coco):
    path = change(coco[0], lambda content: content["images"][0].update(file_name="../../x.jpg"))
    with pytest.raises(ValueError, match="file_name must be a path in the folder of the images"):
        coco_masks(path, coco[0] / "train2017")


def test_subset_and_workers(coco):
    data = pickle.loads(pickle.dumps(create_dataset("coco", coco[0], "train2017")))
    part = data.subset([2, 0])
    assert part[0]["image_id"] == 102
    assert torch.equal(part[1]["masks"], data[0]["masks"])
    assert len(data) == 3


def test_nuclei_as_instances(tmp_path):
    known = trees.nuclei(tmp_path)
    data = create_dataset("nuclei_instances", tmp_path, "train")
    item = data[2]
    assert item.keys() == {"image", "boxes", "labels", "masks", "image_id"}
    assert item["boxes"].tolist() == [[6, 4, 20, 14], [30, 20, 50, 40], [2, 40, 12, 47]]
    assert item["labels"].tolist() == [1, 1, 1]
    assert data.classes == ("background", "nucleus")
    assert torch.equal(item["masks"].any(0), torch.from_numpy(known["train"]["p002"] > 0))
    assert (item["masks"].sum(0) <= 1).all()
    assert [image.stem for image in data.subset([1]).images] == ["p001"]


def test_transform_of_instances_gets_one_map(tmp_path):
    trees.nuclei(tmp_path)
    samples = []

    def cut(sample):
        samples.append(sample)
        return {key: tv_tensors.wrap(value[..., :16, :32], like=value) for key, value in sample.items()}

    item = create_dataset("nuclei_instances", tmp_path, "train", cut)[0]
    assert samples[0].keys() == {"image", "instance"}
    assert item["boxes"].tolist() == [[6, 4, 20, 14]]
    assert item["masks"].shape == (1, 16, 32)
    trees.save(tmp_path / "train/instances/p001.png", np.zeros((5, 5), np.uint16))
    with pytest.raises(ValueError, match=r"size of their image; .*p001\.png is \(5, 5\), p001\.jpg \(48, 64\)"):
        create_dataset("nuclei_instances", tmp_path, "train")[1]


def test_detection_collate(coco):
    data = create_dataset("coco", coco[0], "train2017")
    images, targets = detection_collate([data[0], data[2]])
    assert [image.shape for image in images] == [(3, *trees.SIZE)] * 2
    assert [len(target["boxes"]) for target in targets] == [2, 0]
    assert targets[0].keys() == {"boxes", "labels", "masks", "image_id"}
    # The crowd is left out of training, after a transform too.
    assert targets[0]["labels"].tolist() == [3, 1]
    data.transform = train_transform(32, (1.0, 1.0), 255, (0.5, 0.5, 0.5))
    for _ in range(5):
        item = data[0]
        assert len(item["iscrowd"]) == len(item["labels"]) == len(item["masks"])
        assert 2 not in detection_collate([item])[1][0]["labels"]


def test_boundary_of_nuclei_matches_a_slow_loop(tmp_path):
    random = np.random.default_rng(0)
    ids = random.integers(0, 4, (6, 7)).repeat(4, 0).repeat(4, 1)
    trees.nuclei(tmp_path)
    data = create_dataset("nuclei", tmp_path, "train", boundary=True, instances=True)
    Image.fromarray(ids.astype(np.uint16)).save(data.label_files[0])
    Image.fromarray(np.zeros((*ids.shape, 3), np.uint8)).save(data.images[0])
    expected = (ids > 0).astype(int)
    for y, x in np.ndindex(*ids.shape):
        near = ids[max(0, y - 2) : y + 3, max(0, x - 2) : x + 3]
        if ids[y, x] and ((near > 0) & (near != ids[y, x])).any():
            expected[y, x] = 2
    assert set(expected.ravel()) == {0, 1, 2}
    assert (data[0]["mask"].numpy() == expected).all()
    assert (data[0]["instance"].numpy() == ids).all()
    assert data.classes == ("background", "nucleus", "boundary")
