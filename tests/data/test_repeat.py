"""Repeat-factor sampling: the factors of Gupta et al. (2019), and epochs that hold them."""

import numpy as np
import pytest
import torch
from helpers.trees import coco_semantic
from PIL import Image

from gatezoo.data import FolderDataset, create_dataset
from gatezoo.data.loader import EpochStream
from gatezoo.data.repeat import factors_of_classes, repeat_factors


class Indices(torch.utils.data.Dataset):
    def __len__(self):
        return 10

    def __getitem__(self, index):
        return index


def order(items=400, seed=3, start=0, repeats=None):
    stream = EpochStream(Indices(), items, seed, start, repeats=repeats)
    return [stream[item] for item in range(len(stream))]


def test_factor_is_that_of_the_rarest_class_of_an_image():
    """f = 1, .5, .25 of four images; at t = .36: max(1, sqrt(t / f)) = 1, 1, 1.2."""
    factors = factors_of_classes([{0}, {0, 1}, {0, 1, 2}, {0}], 0.36)
    assert factors.tolist() == pytest.approx([1, 1, 1.2, 1])
    assert factors_of_classes([{0}, set()], 1.0).tolist() == pytest.approx([2**0.5, 1])


def test_factors_of_semantic_labels_and_of_instances(shapes):
    labels = sorted((shapes / "labels").iterdir())
    for path in labels[1:]:
        Image.open(path).point(lambda value: 0 if value == 1 else value).save(path)
    data = FolderDataset(shapes, 2, transform=lambda sample: 1 / 0)
    assert repeat_factors(data, 0) is None
    expected = [(1 / (1 / len(labels))) ** 0.5] + [1] * (len(labels) - 1)
    assert repeat_factors(data, 1.0).tolist() == pytest.approx(expected)
    instances = [{"labels": torch.tensor(found)} for found in ([1], [1, 2], [1, 1], [])]
    ours = repeat_factors(_Listed(instances), 0.5)
    assert ours.tolist() == pytest.approx([1, 2**0.5, 1, 1])
    maps = [{"mask": torch.tensor(labels)} for labels in ([0, 0], [0, 255], [0, 1], [0, 0])]
    assert repeat_factors(_Listed(maps), 0.5).tolist() == pytest.approx([1, 1, 2**0.5, 1])


def test_ignored_pixels_are_no_rare_class(shapes):
    for number, path in enumerate(sorted((shapes / "labels").iterdir())):
        Image.fromarray(np.full((64, 80), 255 if number == 3 else 0, np.uint8)).save(path)
    factors = repeat_factors(FolderDataset(shapes, 2), 1.0)
    assert factors.tolist() == pytest.approx([(24 / 23) ** 0.5] * 3 + [1] + [(24 / 23) ** 0.5] * 20)


def test_factors_of_coco_instances_leave_crowds_out(tmp_path):
    """Of three images two have a car and a toothbrush, and a crowd of trains; one is empty."""
    coco_semantic(tmp_path)
    data = create_dataset("coco", tmp_path, "train2017")
    data.transform = lambda sample: 1 / 0
    assert repeat_factors(data, 1.0).tolist() == pytest.approx([1.5**0.5, 1.5**0.5, 1])


class _Listed(list):
    """A data set of someone else, with a random transform."""

    ignore_index = 255
    transform = staticmethod(dict.clear)

    def __getitem__(self, index):
        sample = dict(super().__getitem__(index))
        if self.transform:
            self.transform(sample)
        return sample


def test_images_are_repeated_by_their_factors_on_average():
    repeats = np.array([1.0] * 8 + [1.5, 3.0])
    stream = EpochStream(Indices(), 10**6, seed=0, repeats=repeats)
    epochs = [np.bincount(stream._shuffled(epoch), minlength=10) for epoch in range(200)]
    assert all((counts[:8] == 1).all() and counts[9] == 3 and counts[8] in (1, 2) for counts in epochs)
    assert np.mean([counts[8] for counts in epochs]) == pytest.approx(1.5, abs=0.1)
    counts = np.bincount(order(int(sum(map(sum, epochs[:7]))), seed=0, repeats=repeats))
    assert counts.tolist() == sum(epochs[:7]).tolist()


def test_order_depends_on_seed_and_place_alone():
    repeats = np.array([1.0] * 8 + [1.5, 3.0])
    whole = order(repeats=repeats)
    for start in (1, 13, 14, 399):
        assert order(start=start, repeats=repeats) == whole[start:]
    stream = EpochStream(Indices(), 400, 3, repeats=repeats)
    assert [stream[item] for item in reversed(range(400))] == whole[::-1]
    assert order(seed=4, repeats=repeats) != whole
    assert whole[:13] != whole[13:26]
    assert order()[:20] == [int(i) for e in (0, 1) for i in np.random.default_rng((3, e)).permutation(10)]
