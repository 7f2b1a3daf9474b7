"""Heads of FCIS: scores, losses, the choice of regions and of instances, each against loops written from the paper."""

import math

import pytest
import torch
import torch.nn.functional as F
from torchvision.models.detection._utils import BoxCoder
from torchvision.ops import box_iou, nms, roi_align

from gatezoo.heads import fcis, fcis_losses
from gatezoo.heads.fcis import FCISRoIHeads
from gatezoo.heads.fcis_instances import choose_instances
from gatezoo.heads.fcis_losses import MASK_WEIGHT, RegionLosses, RegionTargets, match_regions, region_losses
from gatezoo.heads.mask_voting import vote
from gatezoo.heads.position_sensitive import CellGrid

SIZE = (64, 96)
CODER = BoxCoder((5.0, 5.0, 2.0, 2.0))
CELLS, BINS, CLASSES, CHANNELS = 3, 6, 4, 5
BOXES = [(8, 4, 60, 50), (0, 0, 30, 64), (40, 20, 96, 60), (50, 30, 62, 40), (5, 5, 25, 30)]


def make(seed=0, spread=0.5, strides=(16,), **keywords):
    """Heads in double precision with random weights."""
    torch.manual_seed(seed)
    heads = FCISRoIHeads(CHANNELS, CLASSES, strides, 6, CellGrid(CELLS, BINS), **keywords).double()
    with torch.no_grad():
        for parameter in heads.parameters():
            parameter.normal_(std=spread)
    return heads


def make_maps(batch=2, strides=(16,), seed=1):
    torch.manual_seed(seed)
    return {str(k): torch.randn(batch, CHANNELS, *(side // s for side in SIZE)).double() for k, s in enumerate(strides)}


def boxes(which=BOXES):
    return torch.tensor(which, dtype=torch.float64).reshape(-1, 4)


def target(which=((8, 4, 58, 52), (52, 30, 62, 41)), labels=(2, 3)):
    masks = torch.zeros(len(which), *SIZE, dtype=torch.bool)
    for mask, (left, top, right, bottom) in zip(masks, which):
        mask[top:bottom, left:right] = True
        mask[top : top + 5, left : left + 5] = False
    return {"boxes": boxes(which), "labels": torch.tensor(labels, dtype=torch.int64), "masks": masks}


def read(heads, maps, proposals):
    prepared = heads._prepare(list(maps.values()), [1 / stride for stride in heads.strides])
    scores = heads._read(prepared, heads._regions(proposals))
    insides = heads.grid.as_image(scores.insides)
    return scores.logits, scores.offsets, insides.reshape(len(scores.logits), CLASSES, BINS, BINS)


@torch.no_grad()
def test_scores_are_those_of_the_authors_score_maps():
    """A convolution to (class, outside or inside, cell) maps, pooling by bins, then the maximum and its mean."""
    heads, maps = make(), make_maps()
    found = read(heads, maps, [boxes(BOXES[:2]), boxes(BOXES[2:])])
    mixed = F.conv2d(maps["0"], heads.mix.weight[..., None, None], heads.mix.bias).relu()

    def pooled(layer, outputs):
        """(n, outputs, bins, bins), each bin of the map of its cell."""
        weight = layer.weight.permute(2, 0, 1).flatten(0, 1)[..., None, None]
        score_maps = F.conv2d(mixed, weight, layer.bias.mT.flatten())
        images = torch.tensor([0, 0, 1, 1, 1]).double()[:, None]
        values = roi_align(score_maps, torch.cat([images, boxes()], 1), BINS, 1 / 16, 1, aligned=True)
        values = values.view(len(BOXES), outputs, CELLS, CELLS, BINS, BINS)
        result = torch.empty(len(BOXES), outputs, BINS, BINS).double()
        for i in range(BINS):
            for j in range(BINS):
                result[..., i, j] = values[..., i * CELLS // BINS, j * CELLS // BINS, i, j]
        return result

    outside, inside = pooled(heads.score, 2 * CLASSES).split(CLASSES, 1)
    for value, expected in zip(
        found, (torch.maximum(outside, inside).mean((2, 3)), pooled(heads.box, 4).mean((2, 3)), inside - outside)
    ):
        torch.testing.assert_close(value, expected, atol=1e-10, rtol=0)


@torch.no_grad()
def test_constants_move_the_logit_of_their_class_and_leave_its_mask():
    heads, maps = make(), make_maps(1)
    logits, _, insides = read(heads, maps, [boxes()])
    heads.score.bias[:, [2, CLASSES + 2]] += 1.5
    moved, _, same = read(heads, maps, [boxes()])
    expected = logits.clone()
    expected[:, 2] += 1.5
    torch.testing.assert_close(moved, expected)
    torch.testing.assert_close(same, insides)
    heads.score.bias[:, CLASSES + 2] += torch.rand(CELLS**2).double()
    higher, _, _ = read(heads, maps, [boxes()])
    assert (higher[:, 2] >= moved[:, 2]).all()
    assert torch.equal(higher[:, [0, 1, 3]], moved[:, [0, 1, 3]])


def test_losses_of_two_regions_by_hand():
    logits, offsets = [[0.5, -1.0, 2.0], [1.0, 0.0, -1.0]], [[0.2, -3.0, 0.0, 1.0], [9.0, 9.0, 9.0, 9.0]]
    insides, masks = [[[1.0, -2.0], [0.5, 0.0]], [[3.0] * 2] * 2], [[[1.0, 0.0], [0.0, 1.0]], [[0.0] * 2] * 2]
    targets = RegionTargets(torch.tensor([2, 0]), torch.tensor([[0.0, 0.0, 1.0, 0.5], [0.0] * 4]), torch.tensor(masks))
    found = region_losses(torch.tensor(logits), torch.tensor(offsets), torch.tensor(insides), targets)

    def cross_entropy(scores, label):
        return math.log(sum(map(math.exp, scores))) - scores[label]

    # Of a pair (outside, inside) only the difference matters.
    pixels = [((0.0, d), int(t)) for row, of in zip(insides[0], masks[0]) for d, t in zip(row, of)]
    expected = {
        "classifier": [cross_entropy(logits[0], 2), cross_entropy(logits[1], 0)],
        "mask": [sum(cross_entropy(*pixel) for pixel in pixels) / 4, 0.0],
        # .5 d^2 below 1, |d| - .5 above
        "box_reg": [0.5 * 0.2**2 + (3 - 0.5) + (1 - 0.5) + 0.5 * 0.5**2, 0.0],
    }
    for name, values in expected.items():
        assert getattr(found, name).tolist() == pytest.approx(values, rel=1e-6), name
    total = fcis_losses.total_losses(found)
    assert total["loss_mask"].item() == pytest.approx(10 * expected["mask"][0] / 2, rel=1e-6)
    assert total["loss_box_reg"].item() == pytest.approx(expected["box_reg"][0] / 2, rel=1e-6)
    assert total["loss_classifier"].item() == pytest.approx(sum(expected["classifier"]) / 2, rel=1e-6)


def test_regions_are_matched_with_the_object_that_they_overlap_most():
    objects = target()
    found = match_regions(boxes(), objects, CODER, BINS)
    overlaps = box_iou(objects["boxes"], boxes())
    for n, box in enumerate(boxes()):
        overlap, best = max((overlap.item(), k) for k, overlap in enumerate(overlaps[:, n]))
        if overlap < 0.5:
            assert (found.labels[n], found.masks[n].sum(), found.offsets[n].abs().sum()) == (0, 0, 0)
            continue
        assert found.labels[n] == objects["labels"][best]
        torch.testing.assert_close(CODER.decode_single(found.offsets[n : n + 1], box[None])[0], objects["boxes"][best])
        # The center of a bin is inside of the object, up to bins that its outline crosses.
        width, height = (box[2] - box[0]) / BINS, (box[3] - box[1]) / BINS
        share = torch.zeros(BINS, BINS)
        for i in range(BINS):
            for j in range(BINS):
                top, left = box[1] + i * height, box[0] + j * width
                part = objects["masks"][best][int(top) : math.ceil(top + height), int(left) : math.ceil(left + width)]
                share[i, j] = part.float().mean()
        clear = (share == 0) | (share == 1)
        assert clear.sum() > 20
        assert torch.equal(found.masks[n][clear], share[clear].double())
    assert sorted(found.labels.tolist()) == [0, 0, 0, 2, 3]


def test_mask_target_is_inside_from_four_tenths_on():
    objects = {"boxes": boxes([(0, 0, 20, 20)]), "labels": torch.tensor([1]), "masks": torch.zeros(1, *SIZE)}
    for share, expected in ((0.39, 0), (0.41, 1)):
        objects["masks"][:] = share
        assert match_regions(boxes([(0, 0, 20, 20)]), objects, CODER, 3).masks.unique().tolist() == [expected]


def by_region(heads, maps, proposals, targets):
    """Losses of all candidates of each image, with gradients: one pass."""
    candidates = [torch.cat([own, one["boxes"]]) for own, one in zip(proposals, targets)]
    result = []
    for image, (own, one) in enumerate(zip(candidates, targets)):
        alone = {name: x[image : image + 1] for name, x in maps.items()}
        logits, offsets, insides = read(heads, alone, [own])
        matched = match_regions(own, one, heads.coder, BINS)
        result.append(region_losses(logits, offsets, insides[torch.arange(len(own)), matched.labels], matched))
    return result


def reduced(chosen):
    """Sum the losses of all images; each is divided by the number of regions."""
    count = sum(len(own.classifier) for own in chosen)
    sums = {name: sum(getattr(own, name).sum() for own in chosen) / count for name in RegionLosses._fields}
    return {f"loss_{name}": value * (MASK_WEIGHT if name == "mask" else 1) for name, value in sums.items()}


def cases(images=2):
    proposals = [boxes(), boxes(BOXES[:3])]
    return proposals[:images], [target(), target(((0, 2, 28, 62),), (1,))][:images]


@pytest.mark.parametrize("ohem", [100, 3, 1])
def test_losses_are_those_of_the_hardest_regions_and_so_is_the_gradient(ohem, monkeypatch):
    """Two passes, the first in chunks without a gradient, against one."""
    monkeypatch.setattr(fcis, "CHUNK", 2)
    heads, maps, (proposals, targets) = make(ohem=ohem).train(), make_maps(), cases()
    found, losses = heads(maps, proposals, [SIZE] * 2, targets)
    assert found == []
    chosen = []
    for own in by_region(heads, maps, proposals, targets):
        totals = [c + 10 * m + b for c, m, b in zip(*(x.tolist() for x in own))]
        hardest = sorted(range(len(totals)), key=lambda n: -totals[n])[:ohem]
        chosen.append(RegionLosses(*(x[hardest] for x in own)))
    expected = reduced(chosen)
    assert losses.keys() == expected.keys()
    parameters = list(heads.parameters())
    gradients = [torch.autograd.grad(sum(x.values()), parameters) for x in (losses, expected)]
    for name, value in losses.items():
        torch.testing.assert_close(value, expected[name], atol=1e-10, rtol=0)
    for one, other in zip(*gradients):
        torch.testing.assert_close(one, other, atol=1e-10, rtol=0)


def test_sampled_regions_have_at_most_a_quarter_with_an_object(monkeypatch):
    monkeypatch.setattr(fcis_losses, "SAMPLED", 8)
    labels = torch.tensor([0, 0, 1, 2, 1, 3, 0, 1, 1, 1, 0, 0, 0, 0, 0])
    for _ in range(5):
        chosen = fcis_losses.sample_regions(labels)
        assert len(chosen) == len(set(chosen.tolist())) == 8
        assert (labels[chosen] > 0).sum() == 2
    heads, maps, (proposals, targets) = make(ohem=0).train(), make_maps(), cases()
    monkeypatch.setattr(fcis_losses, "SAMPLED", 400)
    losses = heads(maps, proposals, [SIZE] * 2, targets)[1]
    # There are fewer regions than places for them.
    expected = reduced(by_region(heads, maps, proposals, targets))
    for name, value in losses.items():
        torch.testing.assert_close(value, expected[name])


def test_gradient_reaches_the_scores_of_the_true_class_alone():
    heads, maps = make(ohem=100).train(), make_maps(1)
    objects = target(((8, 4, 58, 52),), (2,))
    losses = heads(maps, [boxes()], [SIZE], [objects])[1]
    (gradient,) = torch.autograd.grad(losses["loss_mask"], heads.score.bias, retain_graph=True)
    per_class = gradient.view(-1, 2, CLASSES).abs().sum((0, 1))
    assert (per_class > 0).tolist() == [False, False, True, False]
    # What raises the inside score lowers the outside score as much.
    torch.testing.assert_close(gradient[:, 2], -gradient[:, CLASSES + 2])
    background = [box for box in BOXES if box != BOXES[0]]
    none = dict(objects, boxes=boxes([]), labels=objects["labels"][:0], masks=objects["masks"][:0])
    losses = heads(maps, [boxes(background)], [SIZE], [none])[1]
    assert losses["loss_mask"] == losses["loss_box_reg"] == 0
    for name in ("loss_mask", "loss_box_reg"):
        for gradient in torch.autograd.grad(
            losses[name], list(heads.parameters()), retain_graph=True, allow_unused=True
        ):
            assert gradient is None or gradient.abs().sum() == 0


@pytest.mark.parametrize("strides", [(16,), (4, 8, 16, 32)])
@pytest.mark.parametrize("ohem", [128, 0])
def test_every_parameter_has_a_gradient_without_objects_regions_or_levels(strides, ohem):
    """All boxes read one level; then there are no boxes; then no image has any."""
    heads, maps, empty = make(strides=strides, ohem=ohem).train(), make_maps(strides=strides), target((), ())
    for proposals, targets in (
        ([boxes(), boxes()], [target(), empty]),
        ([boxes(), boxes()], [empty, empty]),
        ([boxes([]), boxes()], [target(), empty]),
        ([boxes([]), boxes([])], [empty, empty]),
    ):
        heads.zero_grad()
        losses = heads(maps, proposals, [SIZE] * 2, targets)[1]
        sum(losses.values()).backward()
        assert all(torch.isfinite(loss) for loss in losses.values())
        assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in heads.parameters())


@torch.no_grad()
def test_rounds_are_equal_if_nothing_moves():
    heads, maps = make(strides=(4, 8, 16, 32)).eval(), make_maps(1, strides=(4, 8, 16, 32))
    heads.box.weight.zero_()
    heads.box.bias.zero_()
    heads.score_thresh = 0.0
    proposals = torch.rand(300, 4).double() * torch.tensor([40.0, 30, 40, 20])
    proposals[:, 2:] += proposals[:, :2] + 3
    found = heads(maps, [proposals], [SIZE])[0][0]
    kept_boxes, scores, masks, _ = found["candidates"]
    assert len(kept_boxes) == 600
    for value in (kept_boxes, scores, masks):
        torch.testing.assert_close(value[:300], value[300:])


@torch.no_grad()
def test_moved_box_reads_the_map_of_its_new_size():
    """Each map is a constant that class 1 has as its logit, so that a score tells the map."""
    strides, size = (4, 8, 16, 32), (1024, 1024)
    heads = FCISRoIHeads(1, 2, strides, 1, CellGrid(1, 1)).double().eval()
    for parameter in heads.parameters():
        parameter.zero_()
    heads.mix.weight.fill_(1)
    heads.score.weight[0, 0] = torch.tensor([0.0, 0, 0, 1])  # outside of both classes, inside of both
    heads.box.bias[:] = torch.tensor([0.0, 0, 2 * math.log(2.1), 2 * math.log(2.1)])
    maps = {
        str(k): torch.full((1, 1, size[0] // stride, size[1] // stride), k + 1.0).double()
        for k, stride in enumerate(strides)
    }
    sides = torch.tensor([30.0, 100, 120, 200, 400, 900]).double()
    proposals = torch.stack([500 - sides / 2, 500 - sides / 2, 500 + sides / 2, 500 + sides / 2], 1)
    heads.score_thresh = 0.0
    moved, scores, _, _ = heads(maps, [proposals], [size])[0][0]["candidates"]
    read_maps = scores[:, 1].logit().round().long().tolist()

    def expected(box):
        side = math.sqrt((box[2] - box[0]) * (box[3] - box[1]))
        return min(5, max(2, math.floor(4 + math.log2(side / 224)))) - 1

    assert read_maps == [expected(box) for box in moved.tolist()]
    assert read_maps[1] == read_maps[7] - 1
    torch.testing.assert_close(moved[6:11, 2] - moved[6:11, 0], (2.1 * sides[:5]).clamp(max=1024))


@torch.no_grad()
def test_instances_are_chosen_as_by_a_loop_over_classes():
    torch.manual_seed(3)
    candidates = torch.rand(40, 4).double() * torch.tensor([40.0, 30, 40, 20])
    candidates[:, 2:] += candidates[:, :2]
    candidates[3, 2] = candidates[3, 0] + 1.9
    scores = torch.randn(40, CLASSES).double().softmax(1)
    scores[3] = torch.tensor([0.0, 1, 0, 0])
    masks = torch.rand(40, CLASSES, BINS, BINS).half()
    found = choose_instances(candidates, scores, masks, 0.2, 0.3, 7)
    pairs = []
    for c in range(1, CLASSES):
        wide = [n for n in range(40) if (candidates[n, 2:] - candidates[n, :2]).min() >= 2]
        own = [wide[n] for n in nms(candidates[wide], scores[wide, c], 0.3).tolist()]
        pairs += [(scores[n, c].item(), n, c) for n in own if scores[n, c] >= 0.2]
    pairs = sorted(pairs, reverse=True)[:7]
    assert found["scores"].tolist() == [score for score, _, _ in pairs]
    assert found["labels"].tolist() == [c for _, _, c in pairs]
    assert torch.equal(found["boxes"], torch.stack([candidates[n] for _, n, _ in pairs]))
    assert torch.equal(found["masks"][:, 0], torch.stack([masks[n, c].double() for _, n, c in pairs]))
    assert len(pairs) == 7


@torch.no_grad()
@pytest.mark.parametrize("mask_of", ["class", "best"])
def test_masks_vote_at_the_size_of_the_image(mask_of):
    heads, maps, original = make().eval(), make_maps(1), (128, 288)  # twice and three times as large
    heads.vote = mask_of
    found = heads(maps, [boxes()], [SIZE])[0][0]
    at_size = heads.at_image_size(found, SIZE, original)
    own, scores, masks, kept = found["candidates"]
    enlarged = own * torch.tensor([3.0, 2, 3, 2]).double()
    expected = vote(enlarged, scores, masks, kept, found["labels"], original, mask_of=mask_of)
    assert len(kept) > 3
    torch.testing.assert_close((at_size["boxes"], at_size["masks"]), expected)
    assert at_size.keys() == {"boxes", "labels", "scores", "masks"}
    assert torch.equal(at_size["scores"], found["scores"])


@torch.no_grad()
def test_unvoted_masks_are_those_of_their_candidates():
    heads, maps = make().eval(), make_maps(1)
    heads.vote = "none"
    found = heads(maps, [boxes()], [SIZE])[0][0]
    at_size = heads.at_image_size(found, SIZE, (128, 288))
    torch.testing.assert_close(at_size["boxes"], found["boxes"] * torch.tensor([3.0, 2, 3, 2]).double())
    unsure = (found["masks"] - 0.4).abs() < 1e-3
    assert torch.equal((at_size["masks"] >= 0.5)[~unsure], (found["masks"] >= 0.4)[~unsure])
    logits, _, insides = read(heads, maps, [boxes()])
    first = (found["candidates"][3] < len(BOXES)).nonzero()[0, 0]
    number, label = found["candidates"][3][first], found["labels"][first]
    torch.testing.assert_close(found["scores"][first], logits.softmax(1)[number, label])
    torch.testing.assert_close(found["masks"][first, 0], insides[number, label].sigmoid(), atol=1e-3, rtol=0)


@torch.no_grad()
@pytest.mark.parametrize("voted", ["class", "none"])
def test_nothing_is_found_without_regions_or_certainty(voted):
    heads, maps = make().eval(), make_maps()
    heads.vote = voted
    heads.score_thresh = 0.999999
    for proposals in ([boxes(), boxes([])], [boxes([]), boxes([])]):
        for found in heads(maps, proposals, [SIZE] * 2)[0]:
            at_size = heads.at_image_size(found, SIZE, (128, 192))
            assert at_size["boxes"].shape == (0, 4)
            assert at_size["masks"].shape == (0, 1, BINS, BINS)


@torch.no_grad()
def test_vanishing_masks_keep_their_box():
    heads, maps = make().eval(), make_maps(1)
    heads.score.weight.zero_()
    heads.score.bias[:, :CLASSES], heads.score.bias[:, CLASSES:] = 50.0, -50.0
    found = heads(maps, [boxes()], [SIZE])[0][0]
    at_size = heads.at_image_size(found, SIZE, SIZE)
    assert len(at_size["boxes"]) > 0
    torch.testing.assert_close(at_size["boxes"].double(), found["boxes"], atol=1e-4, rtol=0)
    assert not (at_size["masks"] >= 0.5).any()


@torch.no_grad()
def test_images_of_a_batch_are_those_of_each_alone():
    heads, strides = make(strides=(4, 8, 16, 32)).eval(), (4, 8, 16, 32)
    maps, proposals = make_maps(strides=strides), [boxes(), boxes(BOXES[1:3])]
    together = heads(maps, proposals, [SIZE] * 2)[0]
    for image, found in enumerate(together):
        (alone,), _ = heads({name: x[image : image + 1] for name, x in maps.items()}, [proposals[image]], [SIZE])
        for key in ("boxes", "labels", "scores", "masks"):
            torch.testing.assert_close(found[key], alone[key])


def test_small_chunks_change_nothing(monkeypatch):
    heads, maps = make().eval(), make_maps()
    results = []
    for size in (1, 64):
        monkeypatch.setattr(fcis, "CHUNK", size)
        with torch.no_grad():
            results.append(heads(maps, [boxes(), boxes()], [SIZE] * 2)[0])
    for one, other in zip(*results):
        torch.testing.assert_close(one["boxes"], other["boxes"])
        torch.testing.assert_close(one["masks"], other["masks"])


def test_probe_reads_the_first_map():
    heads, maps = make(strides=(4, 8, 16, 32)).eval(), make_maps(1, strides=(4, 8, 16, 32))
    logits, offsets, insides = heads.probe(list(maps.values()), boxes() / 4, 2)
    alone = make(strides=(4,)).eval()
    expected = read(alone, {"0": maps["0"]}, [boxes()])
    torch.testing.assert_close((logits, offsets), expected[:2])
    torch.testing.assert_close(insides.reshape(2, CLASSES, BINS, BINS), expected[2][:2])
