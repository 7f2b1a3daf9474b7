"""Deformable RoI pooling: RoIAlign where offsets are zero, moved boxes, samples by another route, and gradients."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torchvision.ops import MultiScaleRoIAlign, roi_align

from gatezoo.heads.deformable_pooling import DeformableRoIPool
from gatezoo.heads.mask_rcnn import BOX_SIDE, MAP_NAMES, make_roi_heads, make_rpn

SIZE = (512, 640)
LEVELS = range(4)


def make_maps(batch=2, channels=3, dtype=torch.float64):
    return {
        name: torch.randn(batch, channels, SIZE[0] // stride, SIZE[1] // stride, dtype=dtype)
        for name, stride in zip(MAP_NAMES, (4, 8, 16, 32, 64), strict=True)
    }


def make_boxes(count=40):
    """Return boxes of all sizes in the image; two touch its border, and one has no height."""
    sides = 2 ** torch.empty(count, 2, dtype=torch.float64).uniform_(1, 9)
    low = torch.rand(count, 2, dtype=torch.float64) * (torch.tensor(SIZE[::-1], dtype=torch.float64) - sides)
    boxes = torch.cat([low, low + sides], 1)
    boxes[0] = torch.tensor([0, 0, SIZE[1], SIZE[0]])
    boxes[1] = torch.tensor([SIZE[1] - 40, SIZE[0] - 90, SIZE[1], SIZE[0]])
    boxes[2] = torch.tensor([7, 30, 60, 30])
    return boxes


def make_pool(channels=3, std=0.0, **options):
    """Return a pool with random offsets; with their mean, which does not depend on the map, of the same size."""
    pool = DeformableRoIPool(channels, **options).double()
    for layers in pool.offsets:
        nn.init.normal_(layers[-1].weight, std=std)
        nn.init.normal_(layers[-1].bias, std=10 * std)
    return pool


def by_grid_sample(pool, maps, boxes):
    """Return the regions of one image by another route: all samples of a region one after the other."""
    regions = []
    for box in boxes:
        area = ((box[2] - box[0]) * (box[3] - box[1])).sqrt()
        level = int(torch.floor(4 + torch.log2(area / 224) + 1e-6).clamp(2, 5)) - 2
        x, stride = maps[MAP_NAMES[level]], 2 ** (level + 2)
        height, width = x.shape[-2:]
        low, size = box[:2] / stride, ((box[2:] - box[:2]) / stride).clamp(min=1)
        first = roi_align(x, [box[None]], BOX_SIDE, 1 / stride, 2)
        offsets = pool.offsets[level](first.flatten(1)).view(2, 7, 7)
        region = torch.zeros(x.shape[1], 7, 7, dtype=x.dtype)
        for i in range(7):
            for j in range(7):
                for a in range(2):
                    for b in range(2):
                        px = low[0] + (2 * j + b + 0.5) / 14 * size[0] + 0.1 * 0.1 * offsets[0, i, j] * size[0]
                        py = low[1] + (2 * i + a + 0.5) / 14 * size[1] + 0.1 * 0.1 * offsets[1, i, j] * size[1]
                        grid = torch.stack([(2 * px + 1) / width - 1, (2 * py + 1) / height - 1]).view(1, 1, 1, 2)
                        value = F.grid_sample(x, grid, padding_mode="border", align_corners=False)
                        region[:, i, j] += value.flatten() / 4
        regions.append(region)
    return torch.stack(regions)


@torch.no_grad()
@pytest.mark.parametrize(("dtype", "atol"), [(torch.float64, 1e-12), (torch.float32, 1e-4)])
def test_zero_offsets_give_roi_align(dtype, atol):
    torch.manual_seed(0)
    maps, boxes = make_maps(3, dtype=dtype), [make_boxes(count).to(dtype) for count in (80, 9, 25)]
    pool, plain = DeformableRoIPool(3).to(dtype), MultiScaleRoIAlign(MAP_NAMES[:4], BOX_SIDE, 2)
    levels = pool.map_levels(boxes)
    assert set(levels.tolist()) == set(LEVELS)
    torch.testing.assert_close(pool(maps, boxes, [SIZE] * 3), plain(maps, boxes, [SIZE] * 3), atol=atol, rtol=0)


@torch.no_grad()
def test_samples_equal_those_of_grid_sample():
    torch.manual_seed(0)
    maps, boxes, pool = make_maps(1), make_boxes(12), make_pool(std=1.0)
    found = pool(maps, [boxes], [SIZE])
    assert (found - make_pool()(maps, [boxes], [SIZE])).abs().max() > 0.1
    torch.testing.assert_close(found, by_grid_sample(pool, maps, boxes), atol=1e-10, rtol=0)


@torch.no_grad()
@pytest.mark.parametrize("axis", [0, 1])
def test_equal_offsets_of_all_bins_move_the_box(axis):
    """Ten of x: a tenth of the width."""
    maps, pool = make_maps(1), make_pool()
    boxes = torch.tensor([[100.0, 90, 190, 200], [200.0, 150, 420, 400], [300.0, 200, 340, 215]], dtype=torch.float64)
    for layers in pool.offsets:
        layers[-1].bias.view(2, 49)[axis] = 10.0
    step = 0.1 * (boxes[:, 2:] - boxes[:, :2])
    step[:, 1 - axis] = 0
    moved = boxes + torch.cat([step, step], 1)
    expected = MultiScaleRoIAlign(MAP_NAMES[:4], BOX_SIDE, 2)(maps, [moved], [SIZE])
    torch.testing.assert_close(pool(maps, [boxes], [SIZE]), expected, atol=1e-12, rtol=0)


@torch.no_grad()
def test_one_offset_moves_one_bin():
    maps, pool = make_maps(1), make_pool()
    boxes = make_boxes(20)
    before = pool(maps, [boxes], [SIZE])
    for layers in pool.offsets:
        layers[-1].bias.view(2, 7, 7)[0, 2, 5] = 5.0
    changed = (pool(maps, [boxes], [SIZE]) - before).abs().amax((0, 1)) > 0
    assert changed.nonzero().tolist() == [[2, 5]]


@torch.no_grad()
def test_constant_maps_give_the_constant_whatever_the_offsets():
    """Also beyond the border."""
    maps = {name: torch.full_like(x, 3.0) for name, x in make_maps(2).items()}
    pool = make_pool(std=10.0)
    found = pool(maps, [make_boxes(), make_boxes(7)], [SIZE] * 2)
    torch.testing.assert_close(found, torch.full_like(found, 3.0), atol=1e-12, rtol=0)


def test_gradients_of_offsets_and_maps():
    torch.manual_seed(0)
    pool = make_pool(2, std=0.3)
    boxes = [torch.tensor([[3.0, 5, 30, 22], [20.0, 8, 55, 40]], dtype=torch.float64)]
    names = MAP_NAMES[:4]
    maps = [torch.randn(1, 2, 64 // s, 64 // s, dtype=torch.float64, requires_grad=True) for s in (4, 8, 16, 32)]
    biases = [layers[-1].bias for layers in pool.offsets]

    def run(finest, bias):
        del bias  # changed in place by gradcheck
        return pool(dict(zip(names, [finest, *maps[1:]])), boxes, [(64, 64)])

    assert torch.autograd.gradcheck(run, (maps[0], biases[0]), atol=1e-6)


@pytest.mark.parametrize("counts", [(1, 0), (0, 3), (0, 0)])
@pytest.mark.parametrize("offset_layers", [1, 3])
def test_levels_and_images_without_regions(counts, offset_layers):
    """Every layer gets a gradient, as processes that train together need."""
    maps, pool = make_maps(2), make_pool(std=0.1, offset_layers=offset_layers)
    for x in maps.values():
        x.requires_grad_()
    boxes = [torch.tensor([[5.0, 5, 25, 35]], dtype=torch.float64).repeat(count, 1) for count in counts]
    found = pool(maps, boxes, [SIZE] * 2)
    assert found.shape == (sum(counts), 3, 7, 7)
    found.sum().backward()
    grads = [[parameter.grad for parameter in layers.parameters()] for layers in pool.offsets]
    assert all(grad is not None and grad.isfinite().all() for level in grads for grad in level)
    assert [any(grad.abs().sum() > 0 for grad in level) for level in grads] == [sum(counts) > 0, False, False, False]
    assert all(maps[name].grad is not None for name in MAP_NAMES[:4])


def test_offsets_of_zero_get_a_gradient():
    maps, pool = make_maps(1), make_pool()
    pool(maps, [make_boxes()], [SIZE]).square().sum().backward()
    for layers in pool.offsets:
        assert layers[-1].weight.grad.abs().sum() > 0


@torch.no_grad()
def test_probe_reads_the_four_maps_in_turn():
    """The first boxes the coarsest; in their order, and the same as regions whose size chooses these maps."""
    torch.manual_seed(0)
    maps, pool = make_maps(1), make_pool(std=1.0)
    sides = torch.tensor([500.0, 450, 300, 230, 150, 120, 100, 20], dtype=torch.float64)
    boxes = torch.stack([sides * 0 + 4, sides * 0 + 8, sides + 4, sides + 8], 1)
    assert pool.map_levels([boxes]).tolist() == [3, 3, 2, 2, 1, 1, 0, 0]
    found = pool.probe(list(maps.values()), boxes / 4)
    torch.testing.assert_close(found, pool(maps, [boxes], [SIZE]))


def test_layers_of_offsets():
    assert [type(layer) for layer in DeformableRoIPool(4, 3).offsets[0]] == [
        *[nn.Linear, nn.ReLU] * 2,
        nn.Linear,
    ]
    assert sum(p.numel() for p in DeformableRoIPool(256).parameters()) == 4 * 1_229_410
    with pytest.raises(ValueError, match="offset_layers must be at least 1; got 0"):
        DeformableRoIPool(4, 0)


@torch.no_grad()
def test_box_branch_alone_is_deformed():
    torch.manual_seed(0)
    heads = make_roi_heads(3, 4, 16, 8, make_pool()).double().eval()
    maps, boxes = list(make_maps(1).values()), make_boxes(8) / 4
    before = heads.probe(maps, boxes, 5)
    nn.init.constant_(heads.box_roi_pool.offsets[0][-1].bias, 5.0)
    logits, offsets, masks = heads.probe(maps, boxes, 5)
    assert torch.equal(masks, before[2])
    # The last quarter reads the finest map.
    assert (logits != before[0]).any(1).tolist() == (offsets != before[1]).any(1).tolist() == [False] * 6 + [True] * 2


def test_number_of_proposals():
    limits = [make_rpn(4, (8, 16, 32, 64, 128), proposals=count)._post_nms_top_n for count in (None, 300)]
    assert limits == [{"training": 2000, "testing": 1000}, {"training": 300, "testing": 300}]
    with pytest.raises(ValueError, match="proposals must be at least 1; got 0"):
        make_rpn(4, (8, 16, 32, 64, 128), proposals=0)
