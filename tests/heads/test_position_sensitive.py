"""Position-sensitive pooling: equality with score maps that are read bin by bin, and with torchvision's operators."""

import math

import pytest
import torch
import torch.nn.functional as F
from torchvision.ops import ps_roi_align, roi_align

from gatezoo.heads.position_sensitive import CellGrid, CellWeights, Regions, flatten_maps

SCALE = 0.25
# In pixels of the image, of two maps of 12 x 15: along all four borders, inside, less than a pixel, and a large one.
BOXES = [(0, 0, 20, 48), (20, 5, 60, 48), (13.3, 7.1, 31.7, 40.2), (30, 30, 30.5, 31), (0, 0, 60, 48)]


def make(cells, bins, outputs=3, channels=4, maps=1, seed=0):
    torch.manual_seed(seed)
    layer = CellWeights(channels, outputs, cells).double()
    with torch.no_grad():
        layer.weight.normal_()
        layer.bias.normal_()
    images = [torch.randn(2, channels, 12 // 2**level, 15 // 2**level).double() for level in range(maps)]
    return CellGrid(cells, bins), layer, images


def regions(boxes=BOXES, images=(0, 1, 0, 1, 1), levels=None):
    count = len(boxes)
    return Regions(
        torch.tensor(boxes, dtype=torch.float64).reshape(-1, 4),
        torch.tensor(images[:count], dtype=torch.int64),
        torch.zeros(count, dtype=torch.int64) if levels is None else torch.tensor(levels),
    )


def as_image(grid, values):
    """(cells^2, n r^2, C) -> (n, C, bins, bins)"""
    placed = grid.as_image(values)
    return placed.reshape(*placed.shape[:2], grid.bins, grid.bins)


def scores(grid, layer, x, chosen, sampling=1):
    bins = grid.pool(flatten_maps([x], [SCALE]), chosen, sampling)
    return as_image(grid, bins @ layer.weight + layer.bias[:, None])


def as_rois(chosen):
    return torch.cat([chosen.images[:, None].double(), chosen.boxes], 1)


def bilinear(plane, y, x):
    """The value of a map (H, W) at a place, in pixels whose centers are whole numbers."""
    height, width = plane.shape
    y, x = min(max(y, 0.0), height - 1.0), min(max(x, 0.0), width - 1.0)
    top, left = math.floor(y), math.floor(x)
    total = 0.0
    for row, wy in ((top, 1 - (y - top)), (top + 1, y - top)):
        for column, wx in ((left, 1 - (x - left)), (left + 1, x - left)):
            if wy * wx:
                total += wy * wx * plane[row, column].item()
    return total


def literal(grid, layer, x, chosen, sampling):
    """Make the maps of all scores, then read each bin from the maps of its cell."""
    outputs, r = layer.weight.shape[2], grid.bins // grid.cells
    maps = F.conv2d(x, layer.weight.mT.flatten(0, 1)[..., None, None], layer.bias.flatten())
    maps = maps.view(len(x), grid.cells**2, outputs, *x.shape[-2:])
    result = torch.zeros(len(chosen.boxes), outputs, grid.bins, grid.bins, dtype=torch.float64)
    for n, (box, image) in enumerate(zip(chosen.boxes.tolist(), chosen.images.tolist())):
        left, top, right, bottom = (side * SCALE - 0.5 for side in box)
        for i in range(grid.bins):
            for j in range(grid.bins):
                cell = (i // r) * grid.cells + j // r
                for c in range(outputs):
                    total = 0.0
                    for u in range(sampling):
                        for v in range(sampling):
                            y = top + (i + (u + 0.5) / sampling) * (bottom - top) / grid.bins
                            x_ = left + (j + (v + 0.5) / sampling) * (right - left) / grid.bins
                            total += bilinear(maps[image, cell, c], y, x_)
                    result[n, c, i, j] = total / sampling**2
    return result


@torch.no_grad()
@pytest.mark.parametrize("sampling", [1, 2])
@pytest.mark.parametrize(("cells", "bins"), [(2, 6), (3, 3)])
def test_scores_are_those_of_the_score_maps(cells, bins, sampling):
    grid, layer, (x,) = make(cells, bins, outputs=2)
    found = scores(grid, layer, x, regions(), sampling)
    torch.testing.assert_close(found, literal(grid, layer, x, regions(), sampling), atol=1e-10, rtol=0)


@torch.no_grad()
@pytest.mark.parametrize("sampling", [1, 2])
def test_scores_are_those_of_the_authors_layout(sampling):
    """Row (c * 2 + d) * 49 + g of the authors' convolution is the score d of class c in cell g; ours has d first."""
    classes, cells, bins, channels = 3, 7, 21, 4
    torch.manual_seed(1)
    theirs = torch.nn.Conv2d(channels, classes * 2 * cells**2, 1).double()
    x, chosen = torch.randn(2, channels, 12, 15).double(), regions()
    grid, layer, _ = make(cells, bins, outputs=2 * classes, channels=channels)
    order = [(c * 2 + d) * cells**2 + g for g in range(cells**2) for d in range(2) for c in range(classes)]
    layer.weight.copy_(theirs.weight[order].view(cells**2, -1, channels).mT)
    layer.bias.copy_(theirs.bias[order].view(layer.bias.shape))
    pooled = roi_align(theirs(x), as_rois(chosen), bins, SCALE, sampling, aligned=True)
    pooled = pooled.view(len(chosen.boxes), classes, 2, cells, cells, bins, bins)
    expected = torch.empty(len(chosen.boxes), 2, classes, bins, bins, dtype=torch.float64)
    for i in range(bins):
        for j in range(bins):
            expected[..., i, j] = pooled[..., i // 3, j // 3, i, j].transpose(1, 2)
    torch.testing.assert_close(scores(grid, layer, x, chosen, sampling), expected.flatten(1, 2), atol=1e-10, rtol=0)


@torch.no_grad()
@pytest.mark.parametrize("sampling", [1, 2])
def test_one_bin_a_cell_is_position_sensitive_roi_align(sampling):
    grid, layer, (x,) = make(7, 7)
    maps = F.conv2d(x, layer.weight.permute(2, 0, 1).flatten(0, 1)[..., None, None], layer.bias.mT.flatten())
    expected = ps_roi_align(maps, as_rois(regions()), 7, SCALE, sampling)
    torch.testing.assert_close(scores(grid, layer, x, regions(), sampling), expected, atol=1e-10, rtol=0)


@torch.no_grad()
def test_equal_cells_are_a_convolution_of_roi_align():
    grid, layer, (x,) = make(3, 6)
    layer.weight.copy_(layer.weight[:1].expand_as(layer.weight))
    layer.bias.copy_(layer.bias[:1].expand_as(layer.bias))
    pooled = roi_align(x, as_rois(regions()), 6, SCALE, 1, aligned=True)
    expected = F.conv2d(pooled, layer.weight[0].mT[..., None, None], layer.bias[0])
    torch.testing.assert_close(scores(grid, layer, x, regions()), expected, atol=1e-10, rtol=0)


@torch.no_grad()
def test_one_cell_is_roi_align_of_each_score_map():
    grid, layer, (x,) = make(1, 5)
    maps = F.conv2d(x, layer.weight[0].mT[..., None, None], layer.bias[0])
    expected = roi_align(maps, as_rois(regions()), 5, SCALE, 1, aligned=True)
    torch.testing.assert_close(scores(grid, layer, x, regions()), expected, atol=1e-10, rtol=0)


@torch.no_grad()
def test_pixels_of_a_cell_change_its_bins_alone():
    grid, layer, (x,) = make(3, 6)
    chosen = regions([(0, 0, 60, 48)], (0,))
    before = scores(grid, layer, x, chosen)
    # Rows and columns around the center of the cell in the middle, which no other bin reads.
    x[0, :, 5:7, 6:9] += 1
    changed = (scores(grid, layer, x, chosen) != before).any(1)[0]
    expected = torch.zeros(6, 6, dtype=torch.bool)
    expected[2:4, 2:4] = True
    assert torch.equal(changed, expected)


@torch.no_grad()
def test_regions_of_several_maps_are_those_of_each_alone():
    grid, _, maps = make(2, 4, maps=3)
    scales = [SCALE / 2**level for level in range(3)]
    levels = [2, 0, 1, 0, 2]
    together = as_image(grid, grid.pool(flatten_maps(maps, scales), regions(levels=levels)))
    for n, level in enumerate(levels):
        alone = regions([BOXES[n]], (regions().images[n].item(),))
        expected = roi_align(maps[level], as_rois(alone), 4, scales[level], 1, aligned=True)
        torch.testing.assert_close(together[n : n + 1], expected, atol=1e-10, rtol=0)


def test_weights_sum_to_one_also_outside_of_the_map():
    grid, pixels = CellGrid(2, 4), flatten_maps([torch.full((2, 3, 12, 15), 7.0, dtype=torch.float64)], [SCALE])
    chosen = regions([(-500, 10, 3, 20), (40, 40, 900, 900), (70, 70, 80, 80), (5, 5, 5, 5)])
    for sampling in (1, 3):
        bins = grid.pool(pixels, chosen, sampling)
        torch.testing.assert_close(bins, torch.full_like(bins, 7.0))


def test_gradient_is_that_of_roi_align():
    grid, _, (x,) = make(2, 4)
    weight = torch.randn(len(BOXES), 4, 4, 4).double()
    gradients = []
    for pool in (
        lambda x: as_image(grid, grid.pool(flatten_maps([x], [SCALE]), regions())),
        lambda x: roi_align(x, as_rois(regions()), 4, SCALE, 1, aligned=True),
    ):
        leaf = x.clone().requires_grad_()
        (pool(leaf) * weight).sum().backward()
        gradients.append(leaf.grad)
    torch.testing.assert_close(gradients[0], gradients[1], atol=1e-10, rtol=0)


def test_no_regions():
    grid, layer, (x,) = make(2, 6)
    assert scores(grid, layer, x, regions([])).shape == (0, 3, 6, 6)


@pytest.mark.parametrize(
    ("cells", "bins", "text"),
    [
        (4, 21, "bins must be a multiple of cells; got 21 bins for 4 cells: pass bins=20"),
        (7, 3, "bins must be a multiple of cells; got 3 bins for 7 cells: pass bins=7"),
        (7, 0, "bins must be a multiple of cells; got 0 bins for 7 cells: pass bins=7"),
        (0, 21, "cells must be at least 1; got 0"),
    ],
)
def test_cells_divide_the_bins(cells, bins, text):
    with pytest.raises(ValueError, match=text):
        CellGrid(cells, bins)
