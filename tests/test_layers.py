import pytest
import torch
import torch.nn.functional as F

from gatezoo.layers import averaging_matrix, pool_to_grids, resize_to


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


def test_no_grids_no_work():
    assert pool_to_grids(torch.zeros(1, 1, 2, 2), ()) == []


def test_resize_leaves_a_map_of_that_size_alone():
    x = torch.randn(1, 2, 5, 6)
    assert resize_to(x, (5, 6)) is x
    assert resize_to(x, (9, 4)).shape == (1, 2, 9, 4)
