import json
import math
from itertools import product

import numpy as np
import pytest
import torch

from gatezoo.metrics import (
    BoundaryMetric,
    DepthMetric,
    InstanceMetric,
    InstanceWeightedMetric,
    SegmentationMetric,
    scores_from_confusion,
    segmentation,
)


def by_loops(pairs, num_classes, ignore):
    iou, accuracy, weighted = {}, {}, 0
    right = labeled = 0
    for k in range(num_classes):
        hits = union = mine = 0
        for classes, labels in pairs:
            for c, t in zip(classes.ravel(), labels.ravel()):
                if t == ignore:
                    continue
                hits += c == k and t == k
                union += c == k or t == k
                mine += t == k
        if union:
            iou[k] = hits / union
            weighted += mine * hits / union
        if mine:
            accuracy[k] = hits / mine
        right, labeled = right + hits, labeled + mine
    return iou, right / labeled, np.mean(list(accuracy.values())), weighted / labeled


@pytest.mark.parametrize("chunk_size", [segmentation._CHUNK_SIZE, 10])
def test_segmentation_metric_matches_a_slow_loop_without_absent_classes(monkeypatch, chunk_size):
    monkeypatch.setattr(segmentation, "_CHUNK_SIZE", chunk_size)
    random = np.random.default_rng(0)
    pairs = []
    for size in ((7, 9), (5, 4)):
        labels = random.choice([0, 1, 2, 255], size)  # class 3 is only predicted, class 4 nowhere
        pairs.append((random.choice([0, 1, 2, 3], size), labels))
    scores = SegmentationMetric(5, 255)
    matrices = [scores.update(torch.from_numpy(classes), torch.from_numpy(labels)) for classes, labels in pairs]
    result = scores.compute()
    iou, pixel_accuracy, mean_accuracy, weighted_iou = by_loops(pairs, 5, 255)
    assert set(iou) == {0, 1, 2, 3}
    assert result.absent == 1
    assert math.isnan(result.iou[4])
    for k, value in iou.items():
        assert result.iou[k] == pytest.approx(value)
    assert result.miou == pytest.approx(np.mean(list(iou.values())))
    assert result.pixel_accuracy == pytest.approx(pixel_accuracy)
    assert result.mean_accuracy == pytest.approx(mean_accuracy)
    assert result.weighted_iou == pytest.approx(weighted_iou)
    # An update returns the matrix of its own image; rows are labels.
    assert torch.equal(sum(matrices), scores.confusion_matrix())
    classes, labels = pairs[1]
    for label, drawn in product(range(5), range(5)):
        assert matrices[1][label, drawn] == np.sum((labels == label) & (classes == drawn))


def test_segmentation_scores_by_hand():
    result = scores_from_confusion(torch.tensor([[6, 2, 0], [1, 1, 0], [0, 0, 0]]))
    assert result.iou[:2] == pytest.approx([6 / 9, 1 / 4])
    assert result.weighted_iou == pytest.approx(0.8 * 6 / 9 + 0.2 / 4)
    assert result.mean_accuracy == pytest.approx((6 / 8 + 1 / 2) / 2)
    assert result.pixel_accuracy == pytest.approx(0.7)
    content = result.to_dict()
    assert content["iou"][2] is None
    assert "boundary_f" not in content
    json.dumps(content, allow_nan=False)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([[0, 3]], r"labels must be 0 \.\. 2 or 255 \(ignored\); got 3: set num_classes"),
        ([[0, -1]], "got -1"),
        ([[0, 1, 2]], r"the size of the prediction; got \(1, 3\) and \(1, 2\)"),
    ],
)
def test_labels_outside_the_classes_are_rejected(labels, message):
    with pytest.raises(ValueError, match=message):
        SegmentationMetric(3).update(torch.tensor([[0, 1]]), torch.tensor(labels))


def test_ignore_index_may_be_one_of_the_classes():
    scores = SegmentationMetric(3, ignore_index=0)
    scores.update(torch.tensor([[0, 1, 2]]), torch.tensor([[0, 1, 1]]))
    assert scores.compute().pixel_accuracy == 0.5


# ---- boundaries


def boundary_by_loops(pairs, num_classes, tolerance, ignore):
    """Compute F of every class from the definition, a pair of pixels at a time."""

    def contour(mask):
        height, width = len(mask), len(mask[0])
        found = []
        for y, x in product(range(height), range(width)):
            around = [(y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)]
            inside = [mask[v][u] for v, u in around if 0 <= v < height and 0 <= u < width]
            if mask[y][x] and not all(inside):
                found.append((y, x))
        return found

    scores = [[] for _ in range(num_classes)]
    for classes, labels in pairs:
        classes = [[t if t == ignore else c for c, t in zip(*rows)] for rows in zip(classes.tolist(), labels.tolist())]
        reach = tolerance * math.hypot(*labels.shape)
        for k in range(num_classes):
            p, t = (contour([[c == k for c in row] for row in rows]) for rows in (classes, labels.tolist()))
            if p or t:
                precision, recall = (
                    sum(any(math.dist(a, b) <= reach for b in others) for a in points) / max(1, len(points))
                    for points, others in ((p, t), (t, p))
                )
                scores[k].append(2 * precision * recall / (precision + recall) if precision + recall else 0)
    return [np.mean(values) if values else math.nan for values in scores]


@pytest.mark.parametrize("tolerance", [0.01, 0.1, 0.2])
def test_boundary_metric_matches_a_slow_loop(tolerance):
    random = np.random.default_rng(0)
    pairs = []
    for height, width in ((16, 12), (10, 18)):
        labels = np.kron(random.integers(0, 3, (4, 4)), np.ones((5, 5), int))[:height, :width]
        labels = np.pad(labels, [(0, max(0, side - part)) for side, part in zip((height, width), labels.shape)])
        classes = np.roll(labels, 1, axis=1)
        classes[2:4, 3:8] = 3  # predicted only
        labels[:3, :4] = 255
        pairs.append((classes, labels))
    scores = BoundaryMetric(5, tolerance)
    for classes, labels in pairs:
        scores.update(torch.from_numpy(classes), torch.from_numpy(labels))
    mean, by_class = scores.compute()
    expected = boundary_by_loops(pairs, 5, tolerance, 255)
    assert by_class == pytest.approx(expected, nan_ok=True)
    assert mean == pytest.approx(np.nanmean(expected))
    assert math.isnan(by_class[4])


def test_boundary_score_by_hand():
    """10 x 10, an edge moved by two columns: all within a reach of 2 pixels, nothing within one of 1."""
    labels, classes = torch.zeros(10, 10, dtype=torch.long), torch.zeros(10, 10, dtype=torch.long)
    labels[:, 5:], classes[:, 7:] = 1, 1
    diagonal = math.hypot(10, 10)
    for reach, expected in ((1, 0.0), (1.99, 0.0), (2, 1.0)):
        scores = BoundaryMetric(2, reach / diagonal)
        scores.update(classes, labels)
        assert scores.compute() == (expected, [expected, expected])
    # An image of one class has no contour, and its border is none: it does not count.
    scores.update(torch.zeros(10, 10), torch.zeros(10, 10))
    assert scores.compute()[0] == 1.0
    # Two predicted columns, of which one is right: precision 1/2, recall 1, F 2/3.
    labels, classes = torch.zeros(10, 10, dtype=torch.long), torch.zeros(10, 10, dtype=torch.long)
    labels[:, 4], classes[:, 4], classes[:, 8] = 1, 1, 1
    scores = BoundaryMetric(2, 0.5 / diagonal)
    scores.update(classes, labels)
    assert scores.compute()[1][1] == pytest.approx(2 / 3)


def test_boundary_tolerance_must_be_a_share():
    with pytest.raises(ValueError, match=r"tolerance must be a share of the diagonal, .* got 3"):
        BoundaryMetric(2, 3)


# ---- instances


def test_instance_weighted_iou_by_hand():
    """Instances of 4 and 1 pixels of class 1, half and wholly found, and two pixels of ground taken for it."""
    labels = torch.tensor([[1, 1, 1, 1, 0, 0, 0, 1, 255, 255]])
    ids = torch.tensor([[7, 7, 7, 7, 0, 0, 0, 9, 9, 9]])
    classes = torch.tensor([[1, 1, 0, 0, 1, 1, 0, 1, 0, 1]])
    # Mean size (4 + 1) / 2: weights 2.5 / 4 and 2.5; iTP = 2 x .625 + 2.5, iFN = 2 x .625, FP = 2.
    scores = InstanceWeightedMetric(3)
    scores.update(classes, labels, ids)
    mean, by_class = scores.compute()
    assert by_class[1] == pytest.approx(3.75 / (3.75 + 1.25 + 2))
    assert mean == by_class[1]
    assert math.isnan(by_class[0])
    assert math.isnan(by_class[2])
    # With a given mean size of 10: iTP = 2 x 2.5 + 10, iFN = 2 x 2.5.
    scores = InstanceWeightedMetric(3, {1: 10.0, 2: 3.0})
    scores.update(classes, labels, ids)
    assert scores.compute()[1][1] == pytest.approx(15 / (15 + 5 + 2))


def test_instance_weighted_metric_matches_a_slow_loop():
    random = np.random.default_rng(0)
    images = []
    for size in ((9, 11), (6, 13)):
        labels = random.choice([0, 1, 2, 255], size)
        ids = np.where(labels > 0, random.integers(1, 4, size), 0)  # ids span classes: an instance of each
        images.append((random.integers(0, 3, size), labels, ids))
    scores = InstanceWeightedMetric(3)
    for image in images:
        scores.update(*map(torch.from_numpy, image))
    for k in range(3):
        found = []
        false = 0
        for classes, labels, ids in images:
            false += np.sum((classes == k) & (labels != k) & (labels != 255))
            for i in (1, 2, 3):
                mine = (ids == i) & (labels == k)
                if mine.any():
                    found.append((mine.sum(), (classes[mine] == k).sum()))
        mean = np.mean([size for size, _ in found]) if found else math.nan
        hits = sum(mean / size * hit for size, hit in found)
        missed = sum(mean / size * (size - hit) for size, hit in found)
        expected = hits / (hits + missed + false) if found else math.nan
        assert scores.compute()[1][k] == pytest.approx(expected, nan_ok=True)


# ---- depth


def test_depth_metric_by_hand_over_known_pixels():
    measured = torch.tensor([[1.0, 2.0, 4.0, 4.0], [math.nan, 0.0, 1.0, 2.0]])
    predicted = torch.tensor([[1.2, 2.8, 2.2, 4.0], [-1.0, math.nan, 1.9, 4.0]])
    # Ratios 1.2, 1.4, 1.818, 1, 1.9, 2 against 1.25, 1.5625, 1.953.
    scores = DepthMetric()
    scores.update(predicted[:, :2], measured[:, :2])
    scores.update(predicted[:, 2:], measured[:, 2:])
    result = scores.compute()
    assert result.pixels == 6
    assert [result.delta1, result.delta2, result.delta3] == pytest.approx([2 / 6, 3 / 6, 5 / 6])
    assert result.abs_rel == pytest.approx((0.2 + 0.4 + 0.45 + 0 + 0.9 + 1) / 6)
    assert result.rmse == pytest.approx(math.sqrt((0.04 + 0.64 + 3.24 + 0 + 0.81 + 4) / 6))
    logs = [math.log(ratio) for ratio in (1.2, 1.4, 4 / 2.2, 1, 1.9, 2)]
    assert result.rmse_log == pytest.approx(math.sqrt(sum(log**2 for log in logs) / 6))
    assert result.to_dict()["delta2"] == 0.5


def test_invalid_depth_is_rejected():
    with pytest.raises(ValueError, match="predicted depth must be positive, in metres"):
        DepthMetric().update(torch.tensor([0.0]), torch.tensor([1.0]))
    with pytest.raises(ValueError, match="must have the size of the measured depth; got"):
        DepthMetric().update(torch.ones(2), torch.ones(3))
    scores = DepthMetric()
    scores.update(torch.ones(2), torch.tensor([math.nan, 0]))
    with pytest.raises(ValueError, match="must be known at one pixel at least; got NaN or 0 at all"):
        scores.compute()


# ---- average precision


def boxes_and_masks(corners, scores=None, label=1):
    """Return torchvision's dict of boxes that are filled by their masks, on 40 x 40 pixels."""
    masks = torch.zeros(len(corners), 40, 40)
    for mask, (x0, y0, x1, y1) in zip(masks, corners):
        mask[y0:y1, x0:x1] = 1
    item = {"boxes": torch.tensor(corners).float(), "labels": torch.full((len(corners),), label)}
    if scores is None:
        return item | {"masks": masks.to(torch.uint8)}
    return item | {"masks": 0.2 + 0.5 * masks[:, None], "scores": torch.tensor(scores)}


def test_average_precision_by_hand():
    """Two instances. The first is found exactly, a false one comes next, the second is found with IoU .6.

    Up to a threshold of .6 the precisions at recalls 1/2 and 1 are 1 and 2/3: of the 101 recalls 0, .01 .. 1 the 51 up
    to .5 read 1, the other 50 read 2/3. Above, only the first counts: 51 read 1, 50 read 0.
    """
    truth = boxes_and_masks([[0, 0, 10, 10], [20, 20, 30, 30]])
    found = boxes_and_masks([[0, 0, 10, 10], [0, 30, 9, 39], [20, 20, 30, 26]], [0.9, 0.8, 0.7])
    scores = InstanceMetric()
    scores.update([found], [truth])
    both, one = (51 + 50 * 2 / 3) / 101, 51 / 101
    expected = (3 * both + 7 * one) / 10  # .5 .55 .6; .65 .. .95
    for kind, result in scores.compute().items():
        assert kind in ("bbox", "segm")
        assert result["ap50"] == pytest.approx(both, abs=1e-4)
        assert result["ap75"] == pytest.approx(one, abs=1e-4)
        assert result["ap"] == pytest.approx(expected, abs=1e-4)
        assert result["ap_small"] == pytest.approx(expected, abs=1e-4)
        assert result["ap_large"] is None
        assert result["ar1"] == pytest.approx(0.5, abs=1e-4)
        assert result["by_class"] == {1: pytest.approx(expected, abs=1e-4)}


def test_average_precision_of_boxes_and_empty_images():
    scores = InstanceMetric(["bbox"])
    nothing = {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.long)}
    scores.update([nothing | {"scores": torch.zeros(0)}], [nothing])
    assert scores.compute()["bbox"]["ap"] is None
    truth = boxes_and_masks([[0, 0, 10, 10]], label=3)
    scores.update([nothing | {"scores": torch.zeros(0)}, {**truth, "scores": torch.ones(1)}], [truth, truth])
    result = scores.compute()["bbox"]
    assert result["ap"] == pytest.approx(51 / 101, abs=1e-4)  # one of two found
    assert result["by_class"] == {3: result["ap"]}


def test_iou_types_are_checked():
    with pytest.raises(ValueError, match=r"iou_types must be 'bbox', 'segm' or both; got \['mask'\]"):
        InstanceMetric(["mask"])
