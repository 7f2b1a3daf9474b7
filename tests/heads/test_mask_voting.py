"""Mask voting: equality with loops over supporters and pixels, identities, and memory."""

import subprocess
import sys

import pytest
import torch
from helpers.loops import bilinear_by_loops
from torchvision.ops import box_iou

from gatezoo.heads.mask_voting import as_half_threshold, vote

SIZE = (40, 50)


def candidates(count, classes=4, side=7, size=SIZE):
    """(boxes, scores, masks) of candidates in three groups, which lie within the image and beyond it."""
    height, width = size
    group = torch.arange(count) % 3
    corner = torch.tensor([[3.0, 5.0], [width * 0.5, height * 0.4], [-4.0, height * 0.5]])[group]
    corners = corner + 2 * torch.randn(count, 2)
    boxes = torch.cat([corners, corners + torch.rand(count, 2) * 6 + torch.tensor([width, height]) * 0.4], 1)
    return boxes, torch.rand(count, classes).softmax(1), torch.rand(count, classes, side, side)


def vote_by_loops(boxes, scores, masks, kept, labels, size, threshold=0.4, iou=0.5, mask_of="class"):
    """Vote on a canvas of the whole image, one supporter and one pixel after the other."""
    height, width = size
    boxes = torch.stack([boxes[:, 0::2].clamp(0, width), boxes[:, 1::2].clamp(0, height)], 2).flatten(1)
    new_boxes, new_masks = [], []
    for r, c in zip(kept.tolist(), labels.tolist()):
        box, mask = boxes[r], masks[r, c]
        supporters = [s for s in range(len(boxes)) if s == r or box_iou(boxes[s : s + 1], boxes[r : r + 1]) >= iou]
        total = sum(float(scores[s, c]) for s in supporters)
        canvas = torch.zeros(height, width)
        for s in supporters:
            left, top, right, bottom = (int(side) for side in boxes[s].round())
            left, top = min(left, width - 1), min(top, height - 1)
            right, bottom = max(right, left + 1), max(bottom, top + 1)
            given = c if mask_of == "class" else 1 + int(scores[s, 1:].argmax())
            drawn = bilinear_by_loops(masks[s : s + 1, given : given + 1], (bottom - top, right - left))[0, 0]
            for y in range(top, bottom):
                for x in range(left, right):
                    if drawn[y - top, x - left] >= threshold:
                        canvas[y, x] += float(scores[s, c]) / total
        found = [(y, x) for y in range(height) for x in range(width) if canvas[y, x] >= threshold]
        if found:
            (top, left), (bottom, right) = map(min, zip(*found)), map(max, zip(*found))
            box = torch.tensor([left, top, right + 1, bottom + 1], dtype=torch.float32)
            mask = bilinear_by_loops(canvas[None, None, top : bottom + 1, left : right + 1], mask.shape)[0, 0]
        new_boxes.append(box)
        new_masks.append((mask * 0.5 / threshold).clamp(max=1)[None])
    return torch.stack(new_boxes), torch.stack(new_masks)


@pytest.mark.parametrize("options", [{}, {"mask_of": "best"}, {"threshold": 0.6, "iou": 0.3}, {"iou": 0.9}])
def test_votes_are_those_of_loops_over_supporters_and_pixels(options):
    boxes, scores, masks = candidates(18)
    kept, labels = torch.tensor([0, 4, 8, 8, 11]), torch.tensor([1, 3, 2, 1, 3])
    wanted = vote_by_loops(boxes, scores, masks, kept, labels, SIZE, **options)
    found = vote(boxes, scores, masks, kept, labels, SIZE, **options)
    assert torch.equal(found[0], wanted[0])
    torch.testing.assert_close(found[1], wanted[1], rtol=1e-5, atol=1e-5)


def test_drawing_part_by_part_is_drawing_at_once(monkeypatch):
    arguments = *candidates(18), torch.tensor([0, 4]), torch.tensor([1, 3]), SIZE
    wanted = vote(*arguments)
    monkeypatch.setattr("gatezoo.heads.mask_voting._PIXELS_AT_ONCE", 1)
    for found, expected in zip(vote(*arguments), wanted):
        torch.testing.assert_close(found, expected)


def test_large_canvases_are_those_of_a_smaller_image():
    boxes, scores, masks = candidates(6, size=(960, 1200))
    boxes = boxes[:1] + 9 * torch.randn(6, 4)  # from (3, 5) on, of some 400 x 500
    boxes[:, 2:] *= 2.4
    reach = float((boxes[:, 2:].max(0)[0] - boxes[:, :2].min(0)[0].clamp(min=0)).max())
    assert 1024 < reach < 1536
    arguments = torch.tensor([0, 3]), torch.tensor([1, 3])
    found = vote(boxes, scores, masks, *arguments, (960, 1800))
    small = vote(boxes / 3, scores, masks, *arguments, (320, 600))
    torch.testing.assert_close(found, (3 * small[0], small[1]))
    assert torch.equal(found[0] % 3, torch.zeros(2, 4))


def lone(box, mask, size=SIZE):
    """(box, mask) voted for one candidate alone, of class 1 of 2."""
    masks = torch.stack([torch.zeros_like(mask), mask])[None]
    scores = torch.tensor([[0.2, 0.8]])
    found, voted = vote(torch.tensor([box]), scores, masks, torch.tensor([0]), torch.tensor([1]), size)
    return found[0].tolist(), voted[0, 0]


def test_a_lone_candidate_keeps_its_own_mask():
    whole = torch.ones(7, 7)
    box, voted = lone([4.0, 6.0, 25.0, 34.0], whole)
    assert box == [4, 6, 25, 34]
    assert torch.equal(voted, whole)
    # At one pixel a cell nothing is resized: the tight part of what reaches the threshold.
    mask = torch.zeros(7, 7)
    mask[1:6, 2:6], mask[3, 3] = 0.4, 0.39
    box, voted = lone([10.0, 20.0, 17.0, 27.0], mask)
    assert box == [12, 21, 16, 26]
    wanted = bilinear_by_loops((mask[None, None, 1:6, 2:6] >= 0.4).float(), (7, 7))[0, 0]
    torch.testing.assert_close(voted, (wanted * 1.25).clamp(max=1))


def test_equal_candidates_vote_for_the_mask_of_one():
    boxes, scores, masks = candidates(1)
    wanted = vote(boxes, scores, masks, torch.tensor([0]), torch.tensor([2]), SIZE)
    three = (x.repeat_interleave(3, 0) for x in (boxes, scores, masks))
    for found, expected in zip(vote(*three, torch.tensor([1]), torch.tensor([2]), SIZE), wanted):
        torch.testing.assert_close(found, expected)


def halves(first, second):
    """Two candidates of one box and three classes: the mask of one is the left half, of the other the right."""
    masks = torch.zeros(2, 3, 8, 8)
    masks[0, :, :, :4], masks[1, :, :, 4:] = 1, 1
    return torch.tensor([[8.0, 8.0, 24.0, 24.0]] * 2), torch.tensor([first, second]), masks


def test_weights_of_disjoint_masks_decide_which_of_them_stays():
    left, both, right = [8, 8, 16, 24], [8, 8, 24, 24], [16, 8, 24, 24]
    for first, second, wanted in [(0.7, 0.3, left), (0.5, 0.5, both), (0.41, 0.29, both), (0.1, 0.3, right)]:
        arguments = halves([0.0, first, 0.0], [0.0, second, 0.0])
        boxes, voted = vote(*arguments, torch.tensor([0]), torch.tensor([1]), (32, 32))
        assert boxes.tolist() == [wanted]
        assert (voted >= 0.5).all()


def test_the_class_voted_gives_weights_and_masks_not_the_best_class():
    boxes, scores, masks = halves([0.0, 0.3, 0.5], [0.0, 0.1, 0.5])
    kept, labels = torch.tensor([0, 0]), torch.tensor([1, 2])
    masks[1, 2] = 0
    # The weights are .75 and .25 for class 1; for class 2 .5 each, and its second mask is empty.
    found, voted = vote(boxes, scores, masks, kept, labels, (32, 32))
    assert found.tolist() == [[8, 8, 16, 24]] * 2
    torch.testing.assert_close(voted.amax((1, 2, 3)), torch.tensor([0.75 * 1.25, 0.5 * 1.25]))


def test_best_masks_are_those_of_each_supporters_best_class():
    boxes, scores, masks = halves([0.0, 0.5, 0.4], [0.0, 0.5, 0.6])
    masks[1, 1], masks[1, 2] = 0, 1
    of_class, best = (
        vote(boxes, scores, masks, torch.tensor([0]), torch.tensor([1]), (32, 32), mask_of=mask_of)[0].tolist()
        for mask_of in ("class", "best")
    )
    assert of_class == [[8, 8, 16, 24]]
    assert best == [[8, 8, 24, 24]]


def test_boxes_are_tight_round_the_voted_canvas():
    # Ten pixels a cell: 0.4 is reached at u = 1.4 and left at 4.6, pixels 19 .. 50 behind the edge.
    mask = torch.zeros(7, 7)
    mask[2:5, 2:5] = 1
    assert lone([20.0, 10.0, 90.0, 80.0], mask, (100, 100))[0] == [39, 29, 71, 61]


def test_an_empty_canvas_keeps_box_and_mask():
    mask = torch.rand(7, 7) * 0.39
    box, voted = lone([3.5, 6.25, 25.75, 34.5], mask)
    assert box == [3.5, 6.25, 25.75, 34.5]
    assert torch.equal(voted, as_half_threshold(mask))
    arguments = halves([1.0, 0.0, 0.0], [1.0, 0.0, 0.0])
    boxes, voted = vote(*arguments, torch.tensor([1]), torch.tensor([1]), (32, 32))
    assert boxes.tolist() == [[8, 8, 24, 24]]
    assert torch.equal(voted[0, 0], arguments[2][1, 1])


@pytest.mark.parametrize(
    ("box", "pixel"),
    [
        ((10.0, 20.0, 10.0, 20.0), [10, 20, 11, 21]),
        ((50.0, 40.0, 50.0, 40.0), [49, 39, 50, 40]),
        ((-9.0, -7.0, -2.0, -1.0), [0, 0, 1, 1]),
        ((60.0, -7.0, 70.0, 90.0), [49, 0, 50, 40]),
    ],
)
def test_boxes_without_area_are_drawn_at_a_pixel_of_the_image(box, pixel):
    assert lone(box, torch.ones(7, 7))[0] == pixel


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_votes_are_in_float32_whatever_the_masks_and_autocast(dtype):
    boxes, scores, masks = candidates(18)
    masks = masks.to(dtype)
    kept, labels = torch.tensor([0, 4]), torch.tensor([1, 3])
    wanted = vote(boxes, scores, masks.float(), kept, labels, SIZE)
    with torch.autocast("cpu", torch.bfloat16):
        found = vote(boxes, scores, masks, kept, labels, SIZE)
    for one, expected in zip(found, wanted):
        assert one.dtype == torch.float32
        assert torch.equal(one, expected)


def test_votes_leave_their_arguments_and_need_no_detection():
    boxes, scores, masks = candidates(6)
    before = [x.clone() for x in (boxes, scores, masks)]
    vote(boxes, scores, masks, torch.tensor([0]), torch.tensor([1]), SIZE)
    assert all(torch.equal(x, y) for x, y in zip(before, (boxes, scores, masks)))
    none = torch.zeros(0, dtype=torch.int64)
    for count in (6, 0):
        found, voted = vote(boxes[:count], scores[:count], masks[:count], none, none, SIZE)
        assert (found.shape, voted.shape) == ((0, 4), (0, 1, 7, 7))


@pytest.mark.parametrize("threshold", [0.3, 0.4, 0.5])
def test_rescaled_masks_reach_a_half_where_the_masks_reach_their_threshold(threshold):
    value = torch.tensor(threshold)
    near = (value.view(torch.int32) + torch.arange(-100_000, 100_000, dtype=torch.int32)).view(torch.float32)
    values = torch.cat([near, torch.rand(100_000), torch.tensor([0.0, 1.0])])
    rescaled = as_half_threshold(values, threshold)
    assert torch.equal(rescaled >= 0.5, values >= threshold)
    assert rescaled.max() == 1
    assert as_half_threshold(torch.tensor([0.0, 0.2, 0.4, 0.6, 1.0])).tolist() == [0, 0.25, 0.5, 0.75, 1]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mask_of": "bets"}, r"mask_of must be one of class, best; got .*bets.*Did you mean best\?"),
        ({"threshold": 0}, r"threshold must be in 0 \.\. 1, 0 excluded; got 0: "),
        ({"threshold": 1.5}, r"threshold must be .* got 1.5"),
    ],
)
def test_wrong_arguments_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        vote(*candidates(3), torch.tensor([0]), torch.tensor([1]), SIZE, **options)


def test_a_hundred_objects_of_a_large_image_take_little_memory():
    """The canvases of all of them at once are 4.8 GB, those of the supporters of the largest 576 MB."""
    code = """
import torch
from gatezoo.heads.mask_voting import vote

def memory(field):
    return int(next(line for line in open("/proc/self/status") if line.startswith(field)).split()[1]) / 1024

corners = torch.rand(99, 2) * 2000
boxes = torch.cat([torch.tensor([[0.0, 0.0, 4000.0, 3000.0]]).repeat(12, 1), torch.cat([corners, corners + 500], 1)])
scores, masks = torch.rand(111, 3), torch.rand(111, 3, 21, 21)
kept, labels = torch.arange(11, 111), torch.ones(100, dtype=torch.long)
before = memory("VmRSS")
found, voted = vote(boxes, scores, masks, kept, labels, (3000, 4000))
assert (found[:, 2:] - found[:, :2]).max() > 2900
print(memory("VmHWM") - before)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < 500
