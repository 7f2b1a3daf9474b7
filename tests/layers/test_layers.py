"""Test resizing and pooling against PyTorch's operators."""

import pytest
import torch
import torch.nn.functional as F

from gatezoo.layers.grid_pool import averaging_matrix, pool_to_grids, sum_of_grids
from gatezoo.layers.resize import interpolation_matrix, resize_to


@pytest.mark.parametrize("size", [(7, 7), (9, 13), (1, 5), (40, 33)])
def test_pool_to_grids_is_adaptive_average_pooling(size):
    x = torch.randn(2, 3, *size)
    grids = (1, 3, 5, 7)
    for bins, pooled in zip(grids, pool_to_grids(x, grids), strict=True):
        torch.testing.assert_close(pooled, F.adaptive_avg_pool2d(x, bins), atol=1e-6, rtol=0)


def test_averaging_matrix_rows_sum_to_one():
    matrix = averaging_matrix(11, 4, torch.zeros(1))
    torch.testing.assert_close(matrix.sum(1), torch.ones(4))
    # 11 positions in 4 bins: the second is floor(11 / 4) .. ceil(22 / 4) - 1 = 2 .. 5.
    assert matrix[1].nonzero().flatten().tolist() == [2, 3, 4, 5]


def test_pool_to_grids_without_grids_is_empty():
    assert pool_to_grids(torch.zeros(1, 1, 2, 2), ()) == []


def test_resize_to_returns_a_map_of_that_size_unchanged():
    x = torch.randn(1, 2, 5, 6)
    assert resize_to(x, (5, 6)) is x
    assert resize_to(x, (9, 4)).shape == (1, 2, 9, 4)


@pytest.mark.parametrize("target", [(21, 30), (9, 13), (4, 6)])
def test_pool_to_grids_of_a_resized_map(target):
    x = torch.randn(2, 3, 9, 13)
    for bins, pooled in zip((1, 3, 5), pool_to_grids(x, (1, 3, 5), target), strict=True):
        expected = F.adaptive_avg_pool2d(F.interpolate(x, target, mode="bilinear"), bins)
        torch.testing.assert_close(pooled, expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize(("size", "target"), [(1, 5), (3, 7), (7, 20), (7, 7), (9, 4)])
def test_interpolation_matrix_is_bilinear_resizing(size, target):
    x = torch.randn(1, 1, size, 1)
    resized = F.interpolate(x, (target, 1), mode="bilinear")
    torch.testing.assert_close(interpolation_matrix(size, target, x) @ x[0, 0], resized[0, 0])


def test_sum_of_grids():
    grids = [torch.randn(2, 4, bins, bins) for bins in (1, 3, 5, 7)]
    expected = sum(F.interpolate(grid, (19, 8), mode="bilinear") for grid in grids)
    torch.testing.assert_close(sum_of_grids(grids, (19, 8)), expected, atol=1e-5, rtol=0)
