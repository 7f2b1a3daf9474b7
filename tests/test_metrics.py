import math

import numpy as np
import pytest
import torch

from gatezoo.metrics import SegmentationScores


def by_loops(pairs, num_classes, ignore):
    iou, accuracy = {}, {}
    right = labelled = 0
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
        if mine:
            accuracy[k] = hits / mine
        right, labelled = right + hits, labelled + mine
    return iou, right / labelled, np.mean(list(accuracy.values()))


def test_scores_are_those_of_a_slow_loop_and_leave_absent_classes_out():
    random = np.random.default_rng(0)
    pairs = []
    for size in ((7, 9), (5, 4)):
        labels = random.choice([0, 1, 2, 255], size)  # class 3 is only predicted, class 4 nowhere
        pairs.append((random.choice([0, 1, 2, 3], size), labels))
    scores = SegmentationScores(5, 255)
    for classes, labels in pairs:
        scores.update(torch.from_numpy(classes), torch.from_numpy(labels))
    result = scores.compute()
    iou, pixel_accuracy, mean_accuracy = by_loops(pairs, 5, 255)
    assert set(iou) == {0, 1, 2, 3}
    assert result.absent == 1
    assert math.isnan(result.iou[4])
    for k, value in iou.items():
        assert result.iou[k] == pytest.approx(value)
    assert result.miou == pytest.approx(np.mean(list(iou.values())))
    assert result.pixel_accuracy == pytest.approx(pixel_accuracy)
    assert result.mean_accuracy == pytest.approx(mean_accuracy)
