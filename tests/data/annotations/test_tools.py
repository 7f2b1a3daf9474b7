"""Readers, tested with files that annotation tools wrote, not we: labelme 6.3.1, datumaro 1.13.12, supervision 0.31.2.

The folders of ``files/`` hold three images of 48 x 64, "a", "b" and "c", of which "c" has no objects, and the same
shapes in each format as far as the tool has them: a tree (polygon), a house (concave polygon), a tree with a hole
(mask). ``*_drawn.png`` are the tools' own drawings, 255 = ``__ignore__``.
"""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.ndimage import maximum_filter, minimum_filter

from gatezoo.data.annotations.formats import guess_format, open_source
from gatezoo.data.annotations.source import ReadOptions

FILES = Path(__file__).parent / "files"
BACKGROUND, TREE, HOUSE = range(3)


def opened(name, task="semantic", split=None, **options):
    """The data set of a folder in the format that is guessed."""
    root = FILES / name
    source = open_source(root, guess_format(root, task).name)
    return (source.semantic if task == "semantic" else source.instances)(split, ReadOptions(**options))


def area(data, index=0):
    return np.bincount(data.labels(index).flatten(), minlength=data.num_classes)[: data.num_classes].tolist()


@pytest.mark.parametrize(
    ("folder", "text"),
    [
        ("labelme", "format: labelme, 2 files"),
        ("supervision_labelme", "format: labelme, 3 files"),
        ("supervision_yolo", "format: yolo, data.yaml"),
        ("supervision_coco", "format: coco, annotations.json"),
        ("datumaro_coco", "format: coco, annotations/instances_train.json, annotations/instances_val.json"),
        ("datumaro_cvat", "format: cvat, train.xml, val.xml"),
        ("datumaro_voc", "format: voc, 2 label maps"),
    ],
)
@pytest.mark.parametrize("task", ["semantic", "instance"])
def test_the_format_is_guessed(folder, text, task):
    assert str(guess_format(FILES / folder, task)) == text


def test_classes_and_splits():
    for name in ("supervision_yolo", "supervision_coco", "datumaro_coco", "datumaro_cvat", "datumaro_voc"):
        assert opened(name).classes == ("background", "tree", "house"), name
    assert opened("labelme").classes == ("background", "house", "pond", "tree")  # in order of the alphabet
    for name in ("datumaro_coco", "datumaro_cvat"):
        assert [path.stem for path in opened(name, split="train").images] == ["a", "b"]
        assert [path.stem for path in opened(name, split="val").images] == ["c"]


def test_the_same_shapes_give_the_same_pixels_in_all_formats():
    # By datumaro, with the mask on top; in COCO as a crowd, which does not count.
    voc = opened("datumaro_voc").labels(0)
    assert area(opened("datumaro_voc")) == [2356, 575, 141]
    coco = opened("datumaro_coco").labels(0)
    assert torch.equal(coco == HOUSE, voc == HOUSE)
    assert torch.equal((coco == TREE) | (coco == 255), voc == TREE)
    assert int((coco == 255).sum()) == 168  # 12 x 16 without the hole of 4 x 6
    assert not (coco[36:40, 8:14]).any()
    cvat = opened("datumaro_cvat").labels(0)
    assert torch.equal(cvat == TREE, voc == TREE)  # of a larger z_order than the house's box
    assert torch.equal(cvat[:17] == HOUSE, voc[:17] == HOUSE)
    assert int((cvat[18:40, 34:54] == HOUSE).sum()) == 22 * 20
    # By supervision, as polygons through the centers of the outermost pixels.
    yolo = opened("supervision_yolo").labels(0)
    assert torch.equal(yolo, opened("supervision_coco").labels(0))
    labelme = opened("supervision_labelme", classes=["tree", "house"]).labels(0)
    assert torch.equal(yolo, labelme)


def assert_equal_inside(found, drawn, classes):
    """Compare label maps except within a pixel of an edge in the tool's drawing, or of the image's border."""
    drawn = np.array([*classes, *range(len(classes), 255), 255])[drawn]
    within = maximum_filter(drawn, 3) == minimum_filter(drawn, 3, mode="constant", cval=-1)
    assert within.mean() > 0.7
    assert (found.numpy() == drawn)[within].all()


@pytest.mark.parametrize("number", [0, 1])
def test_drawings_are_those_of_labelme_but_for_the_edges(number):
    drawn = np.array(Image.open(FILES / f"labelme_{'ab'[number]}_drawn.png"))
    assert_equal_inside(opened("labelme").labels(number), drawn, range(4))


@pytest.mark.parametrize("folder", ["supervision_yolo", "supervision_coco", "supervision_labelme"])
def test_drawings_are_those_of_supervision_but_for_the_edges(folder):
    drawn = np.array(Image.open(FILES / "supervision_a_drawn.png"))
    assert_equal_inside(opened(folder, classes=["tree", "house"]).labels(0), drawn, range(3))


def test_images_without_objects_are_background():
    for name in ("supervision_yolo", "supervision_coco", "supervision_labelme", "datumaro_coco", "datumaro_cvat"):
        data = opened(name)
        index = [path.stem for path in data.images].index("c")
        assert not data.labels(index).any(), name
        assert set(opened(name, unlabeled="ignore").labels(index).unique().tolist()) == {255}, name


def test_without_a_background_unlabeled_pixels_do_not_count():
    with_background, without = opened("datumaro_cvat").labels(0), opened("datumaro_cvat", unlabeled="ignore")
    assert without.classes == ("tree", "house")
    assert torch.equal(without.labels(0).int(), torch.where(with_background == 0, 255, with_background.int() - 1))


@pytest.mark.parametrize("folder", ["labelme", "supervision_yolo", "datumaro_coco", "datumaro_cvat", "datumaro_voc"])
def test_instances_have_the_pixels_of_their_classes(folder):
    semantic, data = opened(folder), opened(folder, "instance")
    assert data.classes == semantic.classes
    item, labels = data[0], semantic[0]["mask"]
    for k in range(1, data.num_classes):
        of_class = item["masks"][item["labels"] == k].any(0)
        assert not (labels == k)[~of_class].any()
    for box, mask in zip(item["boxes"].tolist(), item["masks"]):
        y, x = mask.nonzero(as_tuple=True)
        assert box == [x.min(), y.min(), x.max() + 1, y.max() + 1]


def test_shapes_of_a_group_are_one_instance_and_crowds_are_told():
    item = opened("labelme", "instance")[0]
    assert item["labels"].tolist() == [3, 1, 2, 3]  # the first tree has two parts; what is ignored is none
    assert item["masks"][0][3:5, 3].all()
    assert item["masks"][0][20, 20]
    item = opened("datumaro_coco", "instance")[0]
    assert (item["labels"].tolist(), item["iscrowd"].tolist()) == ([1, 1, 2], [1, 0, 0])
    assert opened("datumaro_coco", "instance").numbered(0).max() == 2  # without the crowd
