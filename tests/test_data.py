import random

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import tv_tensors

from gatezoo.data import FolderDataset
from gatezoo.data.transforms import RandomScaleCrop, train_transform
from gatezoo.losses import class_weights


def test_folder_pairs_by_stem(shapes):
    data = FolderDataset(shapes, 2)
    image, labels = data[0]
    assert len(data) == 24
    assert image.shape == (3, 64, 80)
    assert image.dtype == labels.dtype == torch.uint8
    assert set(labels.unique().tolist()) == {0, 1, 255}
    assert data.frequencies().sum() == pytest.approx(1)


def test_labels_outside_the_classes_name_file_and_value(shapes):
    path = shapes / "labels/03.png"
    labels = np.array(Image.open(path))
    labels[0, 0] = 7
    Image.fromarray(labels).save(path)
    with pytest.raises(ValueError, match=r"labels must be 0 \.\. 1 or 255 \(ignored\); .*03\.png holds 7"):
        FolderDataset(shapes, 2)[3]


def test_refusals(shapes, tmp_path):
    with pytest.raises(ValueError, match="must hold the folders images and labels"):
        FolderDataset(tmp_path / "nowhere", 2)
    (shapes / "labels/05.png").unlink()
    with pytest.raises(ValueError, match=r"lacks 1 of them, first for 05\.png"):
        FolderDataset(shapes, 2)
    Image.new("RGB", (80, 64)).save(shapes / "labels/05.png")
    with pytest.raises(ValueError, match=r"index PNG \(mode L or P\); .*05\.png has mode RGB"):
        FolderDataset(shapes, 2)[5]
    Image.new("L", (8, 6)).save(shapes / "labels/05.png")
    with pytest.raises(ValueError, match=r"size of their picture; .*05\.png is \(6, 8\)"):
        FolderDataset(shapes, 2)[5]


@pytest.mark.parametrize("scale", [(0.3, 0.3), (1.0, 1.0), (2.0, 2.0), (0.5, 2.0)])
def test_picture_and_labels_stay_together(scale):
    """The picture's red channel says what the labels are: after any crop it still must."""
    random.seed(0)
    labels = tv_tensors.Mask((25 * (torch.arange(60)[:, None] // 20 * 3 + torch.arange(90) // 30)).to(torch.uint8))
    image = tv_tensors.Image((labels + 10).repeat(3, 1, 1))
    crop = RandomScaleCrop(48, scale)
    for _ in range(10):
        picture, mask = crop(image, labels)
        assert picture.shape == (3, 48, 48)
        assert mask.shape == (48, 48)
        known = mask != 255
        assert set(mask[known].tolist()) <= set(range(0, 201, 25)), "labels were mixed"
        close = (picture[0].float() - (mask.float() + 10)).abs() < 13
        assert close[known].float().mean() > 0.9  # the edges of the fields are blurred
        assert (picture[0][~known] == 0).all()


def test_scale_is_that_of_the_picture():
    random.seed(0)
    image = tv_tensors.Image(torch.zeros(3, 100, 200, dtype=torch.uint8))
    labels = tv_tensors.Mask(torch.zeros(100, 200, dtype=torch.uint8))
    labels[40:60, 80:120] = 1
    _, mask = RandomScaleCrop(400, (2.0, 2.0))(image, labels)
    assert (mask == 1).sum() == 4 * 20 * 40
    assert (mask != 255).sum() == 4 * 100 * 200


def test_flip_moves_both():
    labels = tv_tensors.Mask(torch.zeros(64, 64, dtype=torch.uint8))
    labels[:, :20] = 1
    image = tv_tensors.Image((labels * 200).repeat(3, 1, 1))
    transform = train_transform(64, (1.0, 1.0), 255, (0.5, 0.5, 0.5))
    sides = set()
    for seed in range(12):
        random.seed(seed)
        torch.manual_seed(seed)
        picture, mask = transform(image, labels)
        left = bool(mask[0, 0])
        assert (picture[0, 0, 0] > picture[0, 0, -1]) == left
        sides.add(left)
    assert sides == {True, False}


def test_class_weights():
    shares = torch.tensor([0.64, 0.36, 0.0])
    assert class_weights(shares, "none") is None
    root = class_weights(shares, "sqrt")
    assert root[0] / root[1] == pytest.approx(0.6 / 0.8)
    assert root[2] == 0
    assert root[:2].mean() == pytest.approx(1)
    assert class_weights(shares, "inverse")[1] / class_weights(shares, "inverse")[0] == pytest.approx(0.64 / 0.36)
    with pytest.raises(ValueError, match="class weights must be one of none, inverse, sqrt; got 'enet'"):
        class_weights(shares, "enet")
