"""Test losses against explicit sums over pixels."""

import math

import pytest
import torch
import torch.nn.functional as F

from gatezoo.data.class_weights import class_weights
from gatezoo.losses import LOSSES, make_loss


@pytest.fixture
def batch():
    labels = torch.randint(0, 4, (2, 5, 6))
    labels[0, 0] = 255
    return torch.randn(2, 4, 5, 6, requires_grad=True), labels


def by_pixel(logits, labels):
    """Yield (probability of its label, label) of each labeled pixel."""
    for b in range(labels.shape[0]):
        for y in range(labels.shape[1]):
            for x in range(labels.shape[2]):
                label = labels[b, y, x].item()
                if label != 255:
                    exponents = [math.exp(v) for v in logits[b, :, y, x].tolist()]
                    yield exponents[label] / sum(exponents), label


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("weight", [None, torch.tensor([1.0, 2.0, 0.5, 3.0])])
def test_cross_entropy(batch, weight, layout):
    logits, labels = batch
    w = [1.0] * 4 if weight is None else weight.tolist()
    pixels = list(by_pixel(logits, labels))
    expected = sum(-w[k] * math.log(p) for p, k in pixels) / sum(w[k] for _, k in pixels)
    loss = make_loss("cross_entropy", weight)(logits.contiguous(memory_format=layout), labels)
    assert loss.item() == pytest.approx(expected, rel=1e-5)


def test_focal(batch):
    weight = torch.tensor([1.0, 2.0, 0.5, 3.0])
    w, pixels = weight.tolist(), list(by_pixel(*batch))
    expected = sum(-w[k] * (1 - p) ** 2 * math.log(p) for p, k in pixels) / sum(w[k] for _, k in pixels)
    assert make_loss("focal", weight)(*batch).item() == pytest.approx(expected, rel=1e-5)


def test_losses_of_a_batch_without_labels_are_zero_without_gradient(batch):
    logits, labels = batch
    for kind in LOSSES:
        loss = make_loss(kind)(logits, torch.full_like(labels, 255))
        assert loss.item() == pytest.approx(0, abs=1e-6), kind
        (gradient,) = torch.autograd.grad(loss, logits)
        assert torch.isfinite(gradient).all(), kind
        assert gradient.abs().max() < 1e-6, kind


@pytest.mark.parametrize(("threshold", "least"), [(0.7, 1 / 16), (0.01, 0.25), (0.3, 1e-9)])
def test_hard_examples(batch, threshold, least):
    """All pixels below the threshold count; if they are few, the hardest share."""
    loss = LOSSES["ohem"](None, 255)
    loss.threshold, loss.least = threshold, least
    probabilities = sorted(p for p, _ in by_pixel(*batch))
    count = max(sum(p <= threshold for p in probabilities), max(1, round(least * len(probabilities))))
    expected = sum(-math.log(p) for p in probabilities[:count]) / count
    assert loss(*batch).item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("kind", ["dice", "lovasz"])
def test_dice_and_lovasz_vanish_for_a_correct_prediction(batch, kind):
    logits, labels = batch
    right = 20.0 * F.one_hot(labels.clamp(max=3), 4).permute(0, 3, 1, 2)
    loss = make_loss(kind)
    assert loss(right, labels) < 1e-3 < loss(logits, labels)
    changed = torch.where((labels == 255)[:, None], torch.randn_like(logits), logits)
    torch.testing.assert_close(loss(changed, labels), loss(logits, labels))


def test_sum_of_losses(batch):
    weight = torch.tensor([1.0, 2.0, 0.5, 3.0])
    both = make_loss("cross_entropy+dice", weight)(*batch)
    torch.testing.assert_close(both, make_loss("cross_entropy", weight)(*batch) + make_loss("dice")(*batch))


def test_make_loss_refuses_invalid_arguments():
    with pytest.raises(ValueError, match=r"loss must be one of cross_entropy, ohem, .*got 'iou'"):
        make_loss("cross_entropy+iou")
    with pytest.raises(ValueError, match="class_weights must be none for the dice loss"):
        make_loss("dice", torch.ones(4))


def test_class_weights():
    shares = torch.tensor([0.64, 0.36, 0.0])
    assert class_weights(shares, "none") is None
    root = class_weights(shares, "sqrt")
    assert root[0] / root[1] == pytest.approx(0.6 / 0.8)
    assert root[2] == 0
    assert root[:2].mean() == pytest.approx(1)
    assert class_weights(shares, "inverse")[1] / class_weights(shares, "inverse")[0] == pytest.approx(0.64 / 0.36)
    assert class_weights(torch.tensor([0.5, 0.3, 0.2]), "median").tolist() == pytest.approx([0.6, 1.0, 1.5])
    for kind in ("inverse", "sqrt", "median"):
        assert class_weights(torch.zeros(2), kind).tolist() == [0, 0]
        assert class_weights(torch.tensor([1.0, 1e-12, 0.0]), kind).isfinite().all()
    with pytest.raises(ValueError, match="class weights must be one of none, inverse, sqrt, median; got 'enet'"):
        class_weights(shares, "enet")
