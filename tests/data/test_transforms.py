import random

import pytest
import torch
from torch import Tensor
from torchvision import tv_tensors

from gatezoo.data.instances import masks_to_boxes
from gatezoo.data.transforms import RandomRotate, RandomScaleCrop, resized, sanitize_instances, train_transform

GREY = (0.5, 0.5, 0.5)


def fields(height=60, width=90):
    """Nine fields; the image's red channel is the labels + 10, depth is the labels + 1, in metres."""
    rows, columns = torch.arange(height)[:, None] * 3 // height, torch.arange(width) * 3 // width
    labels = tv_tensors.Mask((25 * (rows * 3 + columns)).to(torch.uint8))
    return {
        "image": tv_tensors.Image((labels + 10).repeat(3, 1, 1)),
        "mask": labels,
        "depth": tv_tensors.Mask(labels.float() + 1),
        "instance": tv_tensors.Mask(labels.int() * 1000),
        "name": "fields",
    }


def instances():
    """A large instance and a small one inside its box, at the left; their boxes are larger than their masks."""
    masks = torch.zeros(2, 60, 90, dtype=torch.bool)
    masks[0, 10:50, 5:45] = True
    masks[0, 20:30, 10:20] = False
    masks[1, 20:30, 10:20] = True
    boxes = torch.tensor([[4.5, 9.5, 45.5, 50.5], [9.5, 19.5, 20.5, 30.5]])
    return {
        "image": tv_tensors.Image((masks[0] * 100 + masks[1] * 200).to(torch.uint8).repeat(3, 1, 1)),
        "boxes": tv_tensors.BoundingBoxes(boxes, format="XYXY", canvas_size=(60, 90)),
        "labels": torch.tensor([3, 7]),
        "masks": tv_tensors.Mask(masks),
        "image_id": 12,
    }


@pytest.mark.parametrize("scale", [(0.3, 0.3), (1.0, 1.0), (2.0, 2.0), (0.5, 2.0)])
def test_scale_crop_transforms_all_maps_alike(scale):
    """The image's red channel and the depth correspond to the labels before and after any crop."""
    random.seed(0)
    sample = fields()
    crop = RandomScaleCrop(48, scale)
    for _ in range(10):
        out = crop(sample)
        mask = out["mask"]
        assert out["image"].shape == (3, 48, 48)
        assert mask.shape == out["depth"].shape == out["instance"].shape == (48, 48)
        assert out["name"] == "fields"
        known = mask != 255
        assert set(mask[known].tolist()) <= set(range(0, 201, 25)), "labels were mixed"
        close = (out["image"][0].float() - (mask.float() + 10)).abs() < 13
        assert close[known].float().mean() > 0.9  # the edges of the fields are blurred
        assert (out["image"][0][~known] == 0).all()
        assert torch.equal(out["depth"].isnan(), ~known)
        assert torch.equal(out["instance"][known], mask[known].int() * 1000)
        assert (out["instance"][~known] == 0).all()
        factor = ((mask.float() + 1) / out["depth"])[known]
        assert torch.allclose(factor, factor[0].expand_as(factor)), "depth was mixed"
        assert scale[0] - 1e-6 <= factor[0] <= scale[1] + 1e-6
    assert sample["depth"].max() == 201, "the sample itself was changed"


def test_scale_crop_scales_the_image():
    random.seed(0)
    labels = torch.zeros(100, 200, dtype=torch.uint8)
    labels[40:60, 80:120] = 1
    sample = {
        "image": tv_tensors.Image(torch.zeros(3, 100, 200, dtype=torch.uint8)),
        "mask": tv_tensors.Mask(labels),
        "depth": tv_tensors.Mask(torch.full((100, 200), 3.0)),
    }
    out = RandomScaleCrop(400, (2.0, 2.0))(sample)
    assert (out["mask"] == 1).sum() == 4 * 20 * 40
    assert (out["mask"] != 255).sum() == 4 * 100 * 200
    assert (out["depth"] == 1.5).sum() == 4 * 100 * 200


def test_crop_need_not_be_square():
    out = RandomScaleCrop((32, 80), (0.5, 2.0))(fields())
    assert out["image"].shape == (3, 32, 80)
    assert out["mask"].shape == (32, 80)


def test_train_transform_draws_the_same_numbers():
    """With the options off: factor, top, left, and the two of the padding, in this order, then torch's."""
    sample = {key: value for key, value in fields().items() if key in ("image", "mask")}
    transform = train_transform(48, (0.5, 2.0), 255, GREY)
    for seed in range(20):
        random.seed(seed)
        torch.manual_seed(seed)
        out = transform(sample)
        after = random.random(), torch.rand(1)
        random.seed(seed)
        torch.manual_seed(seed)
        factor = random.uniform(0.5, 2.0)
        piece = [min(side, round(48 / factor)) for side in (60, 90)]
        top, left = random.randint(0, 60 - piece[0]), random.randint(0, 90 - piece[1])
        gap = [48 - min(48, round(part * factor)) for part in piece]
        if any(gap):
            random.randint(0, gap[0]), random.randint(0, gap[1])
        flipped = torch.rand(1) < 0.5
        torch.randperm(4)
        for _ in range(3):
            torch.empty(1).uniform_(0.7, 1.3)
        assert after == (random.random(), torch.rand(1))
        if not any(gap):
            corner = out["mask"][0, -1 if flipped else 0]
            assert corner == sample["mask"][top, left]


def test_flip_transforms_all_maps():
    transform = train_transform(64, (1.0, 1.0), 255, GREY)
    labels = torch.zeros(64, 64, dtype=torch.uint8)
    labels[:, :20] = 1
    masks = labels.bool()[None]
    sample = {
        "image": tv_tensors.Image((labels * 200).repeat(3, 1, 1)),
        "mask": tv_tensors.Mask(labels),
        "depth": tv_tensors.Mask(1.0 + labels),
        "boxes": tv_tensors.BoundingBoxes([[0, 0, 20, 64]], format="XYXY", canvas_size=(64, 64)),
        "labels": torch.tensor([1]),
        "masks": tv_tensors.Mask(masks),
    }
    sides = set()
    for seed in range(12):
        random.seed(seed)
        torch.manual_seed(seed)
        out = transform(sample)
        left = bool(out["mask"][0, 0])
        assert (out["image"][0, 0, 0] > out["image"][0, 0, -1]) == left
        assert torch.equal(out["depth"] == 2, out["mask"] == 1)
        assert torch.equal(out["masks"][0], out["mask"] == 1)
        assert out["boxes"].tolist() == ([[0, 0, 20, 64]] if left else [[44, 0, 64, 64]])
        sides.add(left)
    assert sides == {True, False}
    assert all(transform(sample)["mask"][0, 0] for transform in [train_transform(64, (1, 1), 255, GREY, hflip=0)] * 9)


def test_instances_follow_the_crop_and_are_removed_outside():
    random.seed(1)
    numbers = set()
    for _ in range(40):
        out = RandomScaleCrop(24, (1.0, 2.0))(instances())
        count = len(out["labels"])
        assert len(out["boxes"]) == len(out["masks"]) == count
        assert out["masks"].shape[1:] == (24, 24)
        assert out["masks"].dtype == torch.bool
        assert out["boxes"].canvas_size == (24, 24)
        assert out["masks"].flatten(1).any(1).all()
        assert torch.equal(out["boxes"].as_subclass(Tensor), masks_to_boxes(out["masks"]))
        for label, mask in zip(out["labels"].tolist(), out["masks"]):
            inside = torch.nn.functional.avg_pool2d(mask[None].float(), 5, 1)[0] == 1  # away from blurred edges
            shade = out["image"][0, 2:-2, 2:-2][inside]
            assert (shade.float() - {3: 100, 7: 200}[label]).abs().le(2).all()
        numbers.add(count)
        assert out["image_id"] == 12
    assert numbers == {0, 1, 2}


def test_boxes_without_masks_are_clipped_and_removed():
    boxes = [[-5.0, 10, 20, 20], [90, 10, 100, 20], [88.5, 0, 95, 30], [5, 5, 6, 6]]
    sample = {
        "boxes": tv_tensors.BoundingBoxes(boxes, format="XYXY", canvas_size=(60, 90)),
        "labels": torch.tensor([1, 2, 3, 4]),
    }
    out = sanitize_instances(sample)
    assert out["boxes"].tolist() == [[0, 10, 20, 20], [88.5, 0, 90, 30], [5, 5, 6, 6]]
    assert out["labels"].tolist() == [1, 3, 4]
    assert type(out["boxes"]) is tv_tensors.BoundingBoxes


def test_images_without_instances_are_transformed():
    sample = {**instances(), "labels": torch.zeros(0, dtype=torch.int64)}
    sample["boxes"] = tv_tensors.BoundingBoxes(torch.zeros(0, 4), format="XYXY", canvas_size=(60, 90))
    sample["masks"] = tv_tensors.Mask(torch.zeros(0, 60, 90, dtype=torch.bool))
    for seed in range(6):
        random.seed(seed)
        out = train_transform(48, (0.3, 2.0), 255, GREY, rotate=20)(sample)
        assert out["masks"].shape == (0, 48, 48)
        assert out["boxes"].shape == (0, 4)


def test_rotation_transforms_all_maps_alike():
    random.seed(3)
    filled = 0
    for _ in range(5):
        out = RandomRotate(30, fill=(0, 0, 0))(fields(90, 90))
        known = out["mask"] != 255
        assert 0.5 < known.float().mean() < 1
        assert set(out["mask"][known].tolist()) <= set(range(0, 201, 25)), "labels were mixed"
        assert torch.equal(out["depth"][known], out["mask"][known].float() + 1)
        assert torch.equal(out["depth"].isnan(), ~known)
        assert torch.equal(out["instance"][known], out["mask"][known].int() * 1000)
        close = (out["image"][0].float() - (out["mask"].float() + 10)).abs() < 13
        assert close[known].float().mean() > 0.9
        corners = torch.nn.functional.max_pool2d(known.float()[None], 5, 1, 2)[0] == 0  # away from blurred edges
        assert (out["image"][:, corners] == 0).all()
        filled += corners.sum()
    assert filled > 500


def test_rotation_is_as_often_and_as_far_to_one_side_as_to_the_other():
    random.seed(0)
    labels = torch.zeros(91, 91, dtype=torch.uint8)
    labels[44:47, 80:83] = 1  # right of the center
    sample, angles = {"image": tv_tensors.Image(labels[None]), "mask": tv_tensors.Mask(labels)}, []
    for _ in range(300):
        row, column = RandomRotate(30)(sample)["mask"].as_subclass(Tensor).eq(1).nonzero().float().mean(0) - 45
        angles.append(torch.atan2(row, column).rad2deg().item())
    assert -32 < min(angles) < -27 < 27 < max(angles) < 32
    assert sum(angles) / len(angles) == pytest.approx(0, abs=4)


def test_rotation_transforms_instances():
    random.seed(0)
    sample = instances()
    for _ in range(5):
        out = RandomRotate(45)(sample)
        assert torch.equal(out["boxes"].as_subclass(Tensor), masks_to_boxes(out["masks"]))
        assert out["labels"].tolist() == [3, 7]
        assert out["masks"][1].sum() == pytest.approx(100, abs=12)
        assert (out["image"][0][out["masks"][1]] > 100).float().mean() > 0.8


def test_cat_max_ratio_limits_one_class_where_possible():
    labels = torch.zeros(100, 100, dtype=torch.uint8)
    labels[:, 80:] = 1
    labels[:50, :50] = 255
    sample = {"image": tv_tensors.Image(labels.repeat(3, 1, 1)), "mask": tv_tensors.Mask(labels)}

    def largest(cap):
        random.seed(0)
        crop = RandomScaleCrop(40, (1.0, 1.0), cat_max_ratio=cap)
        masks = [crop(sample)["mask"] for _ in range(60)]
        shares = [torch.stack([(m == k).sum() / (m != 255).sum().clamp(min=1) for k in (0, 1)]).max() for m in masks]
        return (torch.stack(shares) < 0.75).float().mean()

    assert largest(1.0) < 0.3
    assert largest(0.75) > 0.8


def test_float_images_are_transformed_as_those_of_8_bits():
    """They are not rounded in between, so the two differ by no more than the roundings."""
    image = torch.randint(0, 256, (3, 60, 70), dtype=torch.uint8)
    labels = tv_tensors.Mask(torch.zeros(60, 70, dtype=torch.uint8))
    transform = train_transform(64, (0.5, 2.0), 255, GREY, rotate=20)
    for seed in range(10):
        results = []
        for values in (image, image.float()):
            torch.manual_seed(seed)
            random.seed(seed)
            results.append(transform({"image": tv_tensors.Image(values), "mask": labels})["image"])
        assert results[1].dtype == torch.float32
        assert type(results[1]) is tv_tensors.Image
        assert (results[0].float() - results[1]).abs().max() < 8


@pytest.mark.parametrize("channels", [1, 2, 5])
def test_images_of_any_number_of_channels_are_transformed(channels):
    image = torch.full((channels, 60, 70), 100, dtype=torch.uint8) * torch.arange(1, channels + 1)[:, None, None].byte()
    sample = {"image": tv_tensors.Image(image), "mask": tv_tensors.Mask(torch.zeros(60, 70, dtype=torch.uint8))}
    out = train_transform(96, (0.5, 1.0), 255, (0.2, 0.4, 0.6), color_jitter=0)(sample)
    assert out["image"].shape == (channels, 96, 96)
    assert (out["image"].as_subclass(Tensor)[:, out["mask"] == 255] == 102).all()
    random.seed(0)  # 31 degrees
    assert (RandomRotate(45, fill=(51, 102, 153))(sample)["image"].as_subclass(Tensor)[:, 0, 0] == 102).all()
    jittered = train_transform(60, (1.0, 1.0), 255, (0.2, 0.4, 0.6), hflip=0)(sample)["image"]
    assert all(channel.unique().numel() == 1 for channel in jittered)


def test_resized_masks_take_the_nearest_pixel_of_the_same_center():
    mask = tv_tensors.Mask(torch.arange(9, dtype=torch.uint8).reshape(1, 9).repeat(3, 1))
    assert resized(mask, (1, 3)).tolist() == [[1, 4, 7]]
    assert resized(tv_tensors.Mask(mask.int() * 70000), (1, 3)).tolist() == [[70000, 280000, 490000]]
    assert resized("text", (1, 3)) == "text"


def test_masks_to_boxes():
    masks = torch.zeros(3, 5, 7)
    masks[0, 1:4, 2:6] = 1
    masks[1, 4, 6] = 1
    assert masks_to_boxes(masks).tolist() == [[2, 1, 6, 4], [6, 4, 7, 5], [0, 0, 0, 0]]
    assert masks_to_boxes(masks[2:]).tolist() == [[0, 0, 0, 0]]
    for empty in (masks[:0], masks[:, :0], masks[:0, :0]):
        boxes = masks_to_boxes(empty)
        assert boxes.shape == (len(empty), 4)
        assert boxes.dtype == torch.float32
        assert not boxes.any()
