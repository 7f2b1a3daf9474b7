import json
import math
from itertools import product
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torchmetrics.functional.classification import multiclass_calibration_error

from gatezoo.metrics import (
    BoundaryMetric,
    CalibrationMetric,
    DepthMetric,
    DepthResult,
    InstanceMetric,
    InstanceWeightedMetric,
    Scores,
    SegmentationMetric,
    nan_to_none,
    scores_from_confusion,
    segmentation,
)


def update(metric, classes, labels, **others):
    """Add an image to a metric, with further maps of the prediction ("probabilities") or the sample."""
    maps = {key: others.pop(key) for key in ("probabilities",) if key in others}
    sample = {"mask": torch.as_tensor(labels)} | {key: torch.as_tensor(value) for key, value in others.items()}
    return metric.update(SimpleNamespace(classes=torch.as_tensor(classes), **maps), sample)


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
    scores = SegmentationMetric().start(5)
    matrices = [update(scores, *pair) for pair in pairs]
    result = Scores(scores.compute())
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
    content = nan_to_none(result)
    assert content["iou"][2] is None
    json.dumps(content, allow_nan=False)


def test_scores_are_attributes():
    scores = Scores({"miou": 0.5, "depth": nested_result()})
    assert (scores.miou, scores.depth.rmse) == (0.5, 2.0)
    assert scores.to_dict()["depth"]["rmse_log"] is None
    with pytest.raises(AttributeError, match="'iiou' is not among miou, depth"):
        _ = scores.iiou
    assert not hasattr(scores, "iiou")


def nested_result():
    return DepthResult(1.0, 1.0, 1.0, 0.0, 2.0, math.nan, 5)


def test_a_started_metric_is_independent_of_its_settings_and_of_others():
    settings = BoundaryMetric(0.2)
    first, second = settings.start(2), settings.start(3, 7)
    update(first, [[0, 1]], [[0, 1]])
    assert (first.num_classes, first.ignore_index, second.num_classes, second.ignore_index) == (2, 255, 3, 7)
    assert first.compute()["boundary_f"] == 1
    update(second, [[0, 2]], [[2, 0]])
    assert second.compute()["boundary_f"] == 0
    assert not hasattr(settings, "num_classes")


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
        update(SegmentationMetric().start(3), [[0, 1]], labels)


def test_ignore_index_may_be_one_of_the_classes():
    scores = SegmentationMetric().start(3, ignore_index=0)
    update(scores, [[0, 1, 2]], [[0, 1, 1]])
    assert scores.compute()["pixel_accuracy"] == 0.5


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
    scores = BoundaryMetric(tolerance).start(5)
    for pair in pairs:
        update(scores, *pair)
    mean, by_class = scores.compute().values()
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
        scores = BoundaryMetric(reach / diagonal).start(2)
        update(scores, classes, labels)
        assert scores.compute() == {"boundary_f": expected, "boundary_f_by_class": [expected, expected]}
    # An image of one class has no contour, and its border is none: it does not count.
    update(scores, torch.zeros(10, 10), torch.zeros(10, 10))
    assert scores.compute()["boundary_f"] == 1.0
    # Two predicted columns, of which one is right: precision 1/2, recall 1, F 2/3.
    labels, classes = torch.zeros(10, 10, dtype=torch.long), torch.zeros(10, 10, dtype=torch.long)
    labels[:, 4], classes[:, 4], classes[:, 8] = 1, 1, 1
    scores = BoundaryMetric(0.5 / diagonal).start(2)
    update(scores, classes, labels)
    assert scores.compute()["boundary_f_by_class"][1] == pytest.approx(2 / 3)


def test_boundary_tolerance_must_be_a_share():
    with pytest.raises(ValueError, match=r"tolerance must be a share of the diagonal, .* got 3"):
        BoundaryMetric(3)


# ---- instances


def test_instance_weighted_iou_by_hand():
    """Instances of 4 and 1 pixels of class 1, half and wholly found, and two pixels of ground taken for it."""
    labels = torch.tensor([[1, 1, 1, 1, 0, 0, 0, 1, 255, 255]])
    ids = torch.tensor([[7, 7, 7, 7, 0, 0, 0, 9, 9, 9]])
    classes = torch.tensor([[1, 1, 0, 0, 1, 1, 0, 1, 0, 1]])
    # Mean size (4 + 1) / 2: weights 2.5 / 4 and 2.5; iTP = 2 x .625 + 2.5, iFN = 2 x .625, FP = 2.
    scores = InstanceWeightedMetric().start(3)
    update(scores, classes, labels, instance=ids)
    mean, by_class = scores.compute().values()
    assert by_class[1] == pytest.approx(3.75 / (3.75 + 1.25 + 2))
    assert mean == by_class[1]
    assert math.isnan(by_class[0])
    assert math.isnan(by_class[2])
    # With a given mean size of 10: iTP = 2 x 2.5 + 10, iFN = 2 x 2.5.
    scores = InstanceWeightedMetric({1: 10.0, 2: 3.0}).start(3)
    update(scores, classes, labels, instance=ids)
    assert scores.compute()["iiou_by_class"][1] == pytest.approx(15 / (15 + 5 + 2))


def test_instance_weighted_metric_matches_a_slow_loop():
    random = np.random.default_rng(0)
    images = []
    for size in ((9, 11), (6, 13)):
        labels = random.choice([0, 1, 2, 255], size)
        ids = np.where(labels > 0, random.integers(1, 4, size), 0)  # ids span classes: an instance of each
        images.append((random.integers(0, 3, size), labels, ids))
    scores = InstanceWeightedMetric().start(3)
    for classes, labels, ids in images:
        update(scores, classes, labels, instance=ids)
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
        assert scores.compute()["iiou_by_class"][k] == pytest.approx(expected, nan_ok=True)


# ---- depth


def update_depth(metric, predicted, measured):
    metric.update(SimpleNamespace(depth=predicted), {"depth": measured})


def test_depth_metric_by_hand_over_known_pixels():
    measured = torch.tensor([[1.0, 2.0, 4.0, 4.0], [math.nan, 0.0, 1.0, 2.0]])
    predicted = torch.tensor([[1.2, 2.8, 2.2, 4.0], [-1.0, math.nan, 1.9, 4.0]])
    # Ratios 1.2, 1.4, 1.818, 1, 1.9, 2 against 1.25, 1.5625, 1.953.
    scores = DepthMetric().start(3)
    update_depth(scores, predicted[:, :2], measured[:, :2])
    update_depth(scores, predicted[:, 2:], measured[:, 2:])
    result = scores.compute()["depth"]
    assert result.pixels == 6
    assert [result.delta1, result.delta2, result.delta3] == pytest.approx([2 / 6, 3 / 6, 5 / 6])
    assert result.abs_rel == pytest.approx((0.2 + 0.4 + 0.45 + 0 + 0.9 + 1) / 6)
    assert result.rmse == pytest.approx(math.sqrt((0.04 + 0.64 + 3.24 + 0 + 0.81 + 4) / 6))
    logs = [math.log(ratio) for ratio in (1.2, 1.4, 4 / 2.2, 1, 1.9, 2)]
    assert result.rmse_log == pytest.approx(math.sqrt(sum(log**2 for log in logs) / 6))
    assert result.to_dict()["delta2"] == 0.5


def test_invalid_depth_is_rejected():
    with pytest.raises(ValueError, match="predicted depth must be positive, in metres"):
        update_depth(DepthMetric().start(3), torch.tensor([0.0]), torch.tensor([1.0]))
    with pytest.raises(ValueError, match="must have the size of the measured depth; got"):
        update_depth(DepthMetric().start(3), torch.ones(2), torch.ones(3))
    scores = DepthMetric().start(3)
    update_depth(scores, torch.ones(2), torch.tensor([math.nan, 0]))
    with pytest.raises(ValueError, match="must be known at one pixel at least; got NaN or 0 at all"):
        scores.compute()


# ---- calibration


def test_calibration_matches_torchmetrics_over_images():
    """Bins are summed over images, one of them with ignored pixels; torchmetrics keeps all pixels."""
    random = torch.Generator().manual_seed(0)
    scores, pixels = CalibrationMetric(10).start(4), []
    for size in ((20, 30), (7, 11)):
        probabilities = (3 * torch.randn(4, *size, generator=random)).softmax(0)
        labels = torch.randint(4, size, generator=random)
        labels[:2] = 255
        update(scores, probabilities.argmax(0), labels, probabilities=probabilities)
        pixels.append((probabilities.flatten(1).T, labels.flatten()))
    predicted, labels = (torch.cat(parts) for parts in zip(*pixels))
    kept = labels != 255
    expected = multiclass_calibration_error(predicted[kept].double(), labels[kept], 4, n_bins=10, norm="l1")
    result = scores.compute()
    assert result["ece"] == pytest.approx(expected.item(), abs=1e-7)
    assert result["ece"] > 0.1
    assert sum(result["calibration"]["count"]) == kept.sum()
    assert scores.settings == {"calibration_bins": 10}


def test_calibration_by_hand():
    """Four pixels of confidence .8, half of them right, and one of confidence 1 that is right."""
    first = torch.tensor([[0.8, 0.8, 0.2, 0.8, 1.0, 0.5]])
    labels = [[0, 0, 0, 1, 0, 255]]
    scores = CalibrationMetric(5).start(2)
    update(scores, (first < 0.5).long(), labels, probabilities=torch.stack([first, 1 - first]))
    result = scores.compute()
    assert result["ece"] == pytest.approx(4 / 5 * 0.3 + 0)
    assert result["calibration"]["count"] == [0, 0, 0, 0, 5]
    assert CalibrationMetric(1).settings == {"calibration_bins": 1}
    with pytest.raises(ValueError, match="bins must be a number of bins, 1 or more; got 0"):
        CalibrationMetric(0)


# ---- average precision


def boxes_and_masks(corners, scores=None, label=1):
    """Return torchvision's dict of boxes that are filled by their masks, on 40 x 40 pixels."""
    masks = torch.zeros(len(corners), 40, 40)
    for mask, (x0, y0, x1, y1) in zip(masks, corners):
        mask[y0:y1, x0:x1] = 1
    item = {"boxes": torch.tensor(corners).float(), "labels": torch.full((len(corners),), label)}
    if scores is None:
        return item | {"masks": masks.to(torch.uint8)}
    return item | {"masks": 0.45 + 0.1 * masks[:, None], "scores": torch.tensor(scores)}


def test_average_precision_by_hand():
    """Two instances. The first is found exactly, a false one comes next, the second is found with IoU .6.

    Up to a threshold of .6 the precisions at recalls 1/2 and 1 are 1 and 2/3: of the 101 recalls 0, .01 .. 1 the 51 up
    to .5 read 1, the other 50 read 2/3. Above, only the first counts: 51 read 1, 50 read 0.
    """
    truth = boxes_and_masks([[0, 0, 10, 10], [20, 20, 30, 30]])
    found = boxes_and_masks([[0, 0, 10, 10], [0, 30, 9, 39], [20, 20, 30, 26]], [0.9, 0.8, 0.7])
    scores = InstanceMetric().start(2)
    scores.update(found, truth)
    both, one = (51 + 50 * 2 / 3) / 101, 51 / 101
    expected = (3 * both + 7 * one) / 10  # .5 .55 .6; .65 .. .95
    result = scores.compute()
    for kind in ("mask", "box"):
        assert result[f"{kind}_ap50"] == pytest.approx(both, abs=1e-4)
        assert result[f"{kind}_ap75"] == pytest.approx(one, abs=1e-4)
        assert result[f"{kind}_ap"] == pytest.approx(expected, abs=1e-4)
        assert result[f"{kind}_ap_small"] == pytest.approx(expected, abs=1e-4)
        assert result[f"{kind}_ap_large"] is None
        assert result[f"{kind}_ar1"] == pytest.approx(0.5, abs=1e-4)
        assert result[f"{kind}_by_class"] == {1: pytest.approx(expected, abs=1e-4)}


def test_average_precision_of_boxes_and_empty_images():
    scores = InstanceMetric(["box"], ["background", "a", "b", "disc"]).start(4)
    nothing = {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.long)}
    scores.update(nothing | {"scores": torch.zeros(0)}, nothing)
    assert scores.compute()["box_ap"] is None
    truth = boxes_and_masks([[0, 0, 10, 10]], label=3)
    scores.update(nothing | {"scores": torch.zeros(0)}, truth)
    scores.update({**truth, "scores": torch.ones(1)}, truth)
    result = scores.compute()
    assert result["box_ap"] == pytest.approx(51 / 101, abs=1e-4)  # one of two found
    assert result["box_by_class"] == {"disc": result["box_ap"]}
    assert not any(key.startswith("mask") for key in result)


def test_what_is_found_in_a_crowd_does_not_count():
    """A single instance is found exactly; two surer findings lie in a crowd, which nothing finds as a whole."""
    truth = boxes_and_masks([[0, 0, 10, 10], [15, 15, 40, 40]])
    found = boxes_and_masks([[16, 16, 22, 22], [30, 30, 38, 38], [0, 0, 10, 10]], [0.9, 0.8, 0.7])
    for crowds, expected in (([0, 1], 1.0), ([0, 0], 51 / 101 / 3)):
        scores = InstanceMetric().start(2)
        scores.update(found, truth | {"iscrowd": torch.tensor(crowds)})
        result = scores.compute()
        for kind in ("mask", "box"):
            assert result[f"{kind}_ap"] == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("seed", range(3))
def test_average_precision_is_that_of_the_publishers(seed):
    """Random findings, targets and crowds of several classes, with ties of scores, by both backends."""
    random = np.random.default_rng(seed)
    metrics = [InstanceMetric(backend=backend).start(4) for backend in ("faster_coco_eval", "pycocotools")]
    for _ in range(4):
        corners = random.integers(0, 28, (6, 2))
        corners = np.concatenate([corners, corners + random.integers(3, 12, (6, 2))], 1)
        truth = boxes_and_masks(corners.tolist()) | {"labels": torch.from_numpy(random.integers(1, 4, 6))}
        moved = (corners + random.integers(-1, 2, corners.shape)).clip(0, 40)
        found = boxes_and_masks(moved.tolist(), random.choice([0.3, 0.5, 0.9], 6).tolist())
        found["labels"] = torch.where(torch.from_numpy(random.random(6) < 0.8), truth["labels"], 1)
        truth["iscrowd"] = torch.from_numpy((random.random(6) < 0.3).astype(np.int64))
        for metric in metrics:
            metric.update(found, truth)
    fast, reference = (metric.compute() for metric in metrics)
    assert 0 < reference["mask_ap"] < 1
    assert fast == reference


def test_regions_are_checked():
    with pytest.raises(ValueError, match=r"regions must be 'mask', 'box' or both; got \['segm'\]"):
        InstanceMetric(["segm"])


@pytest.mark.parametrize("regions", [["mask"], ["box"], ["mask", "box"]])
def test_instance_metric_is_zero_where_nothing_is_found(regions):
    masks = torch.zeros(2, 40, 40, dtype=torch.bool)
    masks[0, :4, :4] = masks[1, :, 5:] = True
    boxes = torch.tensor([[0.0, 0, 4, 4], [5, 0, 40, 40]])
    target = {"boxes": boxes, "labels": torch.tensor([1, 3]), "masks": masks}
    metric = InstanceMetric(regions).start(4)
    metric.update({key: value[:0] for key, value in target.items()} | {"scores": torch.ones(0)}, target)
    scores = metric.compute()
    for region in regions:
        found = [scores[f"{region}_{name}"] for name in ("ap", "ap_small", "ap_medium", "ap_large", "ar100")]
        assert found == [0, 0, 0, None, 0]
        assert scores[f"{region}_by_class"] == {1: 0, 3: 0}
