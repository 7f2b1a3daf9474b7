import numpy as np
import pytest

from gatezoo.data.annotations.raster import (
    check_points,
    ellipse_patch,
    mask_patch,
    polygon_patch,
    rectangle_points,
    runs_mask,
)

SIZE = 40, 44


def inside(points, size):
    """Whether the center of each pixel is in a polygon by the even-odd rule, and its distance from the edges."""
    y, x = np.mgrid[: size[0], : size[1]] + 0.5
    found, distance = np.zeros(size, bool), np.full(size, np.inf)
    for (x0, y0), (x1, y1) in zip(points, np.roll(points, -1, 0)):
        crosses = (y0 > y) != (y1 > y)
        with np.errstate(divide="ignore", invalid="ignore"):
            found ^= crosses & (x < (x1 - x0) * (y - y0) / (y1 - y0) + x0)
        edge = np.array([x1 - x0, y1 - y0])
        share = (((x - x0) * edge[0] + (y - y0) * edge[1]) / (edge @ edge)).clip(0, 1)
        distance = np.minimum(distance, np.hypot(x - x0 - share * edge[0], y - y0 - share * edge[1]))
    return found, distance


def test_pixels_belong_to_a_polygon_if_their_center_does():
    random = np.random.default_rng(0)
    for _ in range(100):
        points = random.uniform(-10, 50, (random.integers(3, 9), 2))
        mask, (expected, distance) = polygon_patch([points], SIZE).whole(SIZE), inside(points, SIZE)
        assert (mask == expected)[distance > 0.25].all()  # drawn at a fifth of a pixel


def test_whole_pixels_are_exact_and_what_is_outside_is_cut_off():
    mask = polygon_patch([[(1, 1), (3, 1), (3, 4), (1, 4)]], (5, 6)).whole((5, 6))
    assert mask.sum() == 6
    assert mask[1:4, 1:3].all()
    assert polygon_patch([[(-4, -2), (3, -2), (3, 2), (-4, 2)]], (5, 6)).whole((5, 6)).sum() == 6
    assert polygon_patch([[(-4, -4), (-1, -4), (-1, -1)]], (5, 6)).mask.size == 0
    assert polygon_patch([[(5.6, 0), (5.9, 0), (5.9, 4)]], (5, 6)).mask.sum() == 0


def test_polygons_of_a_region_are_joined():
    squares = [[(0, 0), (4, 0), (4, 4), (0, 4)], [(2, 2), (6, 2), (6, 5), (2, 5)]]
    assert polygon_patch(squares, (5, 6)).whole((5, 6)).sum() == 16 + 12 - 4


def test_a_turned_rectangle_and_an_ellipse_turn_the_same_way():
    long = np.array([(10.0, 18.0), (34.0, 24.0)])
    rectangle = polygon_patch([rectangle_points(long, 30)], SIZE).whole(SIZE)
    ellipse = ellipse_patch((22, 21), (12, 3), SIZE, 30).whole(SIZE)
    assert (rectangle & ellipse).sum() > 0.95 * ellipse.sum()
    y, x = np.nonzero(rectangle)
    assert np.polyfit(x, y, 1)[0] > 0.4  # clockwise, as y points down


def test_a_circle_has_its_area():
    assert abs(ellipse_patch((20, 20), (12, 12), SIZE).mask.sum() - np.pi * 144) < 8
    assert ellipse_patch((0, 0), (3, 3), SIZE).whole(SIZE).sum() == 8  # a quarter: centers within 3


def test_masks_are_cut_off_at_all_sides():
    mask = np.arange(12).reshape(3, 4) % 2 == 1
    for top, left in ((-1, -2), (38, 41), (5, 6), (-9, 0), (99, 99)):
        whole = np.zeros((SIZE[0] + 200, SIZE[1] + 200), bool)
        whole[top + 100 : top + 103, left + 100 : left + 104] = mask
        assert (mask_patch(mask, top, left, SIZE).whole(SIZE) == whole[100:140, 100:144]).all()


def test_run_lengths_go_row_by_row():
    assert runs_mask([1, 3, 2], 2, 3).tolist() == [[False, True, True], [True, False, False]]
    for counts in ([1, 2], [7, -1]):
        with pytest.raises(ValueError, match="run lengths must add up"):
            runs_mask(counts, 2, 3)


@pytest.mark.parametrize(
    ("points", "message"),
    [
        ([(0, 0), (1, 1)], "at least 3 points; it has 2"),
        ([], "pairs of finite numbers"),
        ([(0, 0), (1, float("nan")), (2, 2)], "pairs of finite numbers"),
        ([(0, 0, 0)] * 3, "pairs of finite numbers"),
        ([(0, 0), (1, "x"), (2, 2)], "pairs of finite numbers"),
        ([(0, 0), (1, 1), (2,)], "pairs of finite numbers"),
        ([(0, 0), (1e9, 1), (2, 2)], "far outside"),
    ],
)
def test_wrong_points(points, message):
    with pytest.raises(ValueError, match=message):
        check_points(points, SIZE)
