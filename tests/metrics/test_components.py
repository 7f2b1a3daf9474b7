from types import SimpleNamespace

import pytest
import torch

from gatezoo.metrics import ComponentMetric, CountMetric


def maps(classes, probabilities=None, num_classes=3):
    classes = torch.as_tensor(classes)
    sure = torch.nn.functional.one_hot(classes.long(), num_classes).permute(2, 0, 1).float()
    return SimpleNamespace(classes=classes, probabilities=sure if probabilities is None else probabilities)


def squares(boundary=0):
    """Return two touching squares of instance 1 and 2, and their classes, with a boundary of class 2."""
    instance = torch.zeros(12, 22, dtype=torch.int32)
    instance[1:11, 1:11], instance[1:11, 11:21] = 1, 2
    classes = (instance > 0).long()
    classes[1:11, 11 - boundary : 11 + boundary] = 2
    return instance, classes


def scores(metric, prediction, instance):
    metric = metric.start(3)
    metric.update(prediction, {"mask": (instance > 0).byte(), "instance": instance})
    return metric.compute()


def test_component_metric_is_perfect_where_the_boundary_parts_touching_objects():
    instance, classes = squares(boundary=1)
    found = scores(ComponentMetric(1, joined=[2]), maps(classes), instance)
    assert found["mask_ap"] == pytest.approx(1)
    assert found["count_error"] == 0
    # Without the boundary's pixels the masks lack a tenth.
    assert scores(ComponentMetric(1), maps(classes), instance)["mask_ap"] == pytest.approx(0.9)


def test_component_metric_counts_merged_objects_as_one():
    instance, classes = squares()
    found = scores(ComponentMetric(1, joined=[2]), maps(classes), instance)
    assert found["count_error"] == 0.5
    assert found["mask_ap"] < 0.3


def test_component_metric_gives_a_far_boundary_and_specks_to_no_component():
    _, classes = squares(boundary=1)
    classes[:, 21] = 2  # beside the right square
    classes[0, 0:3] = 0
    metric = ComponentMetric(1, joined=[2], reach=0.5, min_pixels=91)
    assert len(metric.instances(classes, maps(classes).probabilities)["masks"]) == 0
    near = ComponentMetric(1, joined=[2]).instances(classes, maps(classes).probabilities)
    assert near["masks"].sum((1, 2)).tolist() == [100, 100 + 12]


def test_component_metric_scores_components_by_their_mean_probability():
    _, classes = squares(boundary=1)
    probabilities = torch.full((3, 12, 22), 0.2)
    probabilities[1, :, :11] = 0.5
    found = ComponentMetric(1, joined=[2]).instances(classes, probabilities)
    assert found["scores"].tolist() == pytest.approx([0.7, 0.4])


@pytest.mark.parametrize("kwargs", [{"joined": [1]}, {"reach": -1.0}, {"min_pixels": -1}])
def test_component_metric_refuses_wrong_settings(kwargs):
    with pytest.raises(ValueError, match="must be"):
        ComponentMetric(1, **kwargs)


def test_count_metric_adds_the_errors_of_images_without_crowds():
    metric = CountMetric().start(2)
    metric.update({"scores": torch.tensor([0.9, 0.5, 0.4])}, {"labels": torch.ones(4)})
    metric.update({"scores": torch.tensor([0.9, 0.8])}, {"labels": torch.ones(2), "iscrowd": torch.tensor([0, 1])})
    assert metric.compute() == {"count_error": pytest.approx((2 + 1) / 5)}
    empty = CountMetric().start(2)
    empty.update({"scores": torch.tensor([0.9])}, {"labels": torch.ones(0)})
    assert torch.tensor(empty.compute()["count_error"]).isnan()
