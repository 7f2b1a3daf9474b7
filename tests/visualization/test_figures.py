import numpy as np
import pytest
import torch

from gatezoo.inference.prediction import Prediction
from gatezoo.utils.palette import voc_palette
from gatezoo.visualization import comparison, depth, figures, gates, layout
from gatezoo.visualization.comparison import compare_figure, error_figure
from gatezoo.visualization.depth import depth_image, plot_loops
from gatezoo.visualization.figures import (
    confusion_figure,
    draw_instances,
    index_image,
    iterations_figure,
    reliability_figure,
)
from gatezoo.visualization.gates import COLORS, gates_figure, prediction_changes
from gatezoo.visualization.layout import image_grid, place_captions, tile_size, wrapped
from gatezoo.visualization.overlay import HIGHLIGHT_COLOR
from gatezoo.visualization.pixels import colorize

HEIGHT, WIDTH = 240, 320  # small tiles would be enlarged
PALETTE = [(10, 10, 10), (0, 255, 0), (0, 0, 255)]
NAMES = ["a", "b", "c"]


@pytest.fixture
def image():
    return torch.full((3, HEIGHT, WIDTH), 255, dtype=torch.uint8)


@pytest.fixture
def grids(monkeypatch):
    """The arguments of all grids that are drawn: columns, legend, bars."""
    recorded = []

    def recording(columns, legend, bars=()):
        recorded.append((columns, legend, bars))
        return image_grid(columns, legend, bars)

    for module in (comparison, depth, figures, gates):
        monkeypatch.setattr(module, "image_grid", recording)
    return recorded


def halves(left, right):
    classes = np.full((HEIGHT, WIDTH), left, np.uint8)
    classes[:, WIDTH // 2 :] = right
    return classes


def marked(tile, color=HIGHLIGHT_COLOR):
    return (np.array(tile) == color).all(-1)


def captions(columns):
    return [[caption for caption, _ in column] for column in columns]


def test_error_figure_marks_wrong_pixels_and_scores_the_image(image, grids):
    labels, classes = halves(0, 1), halves(0, 1)
    labels[:60] = 255
    classes[60:120, 160:] = 2
    classes[:60] = 2  # not counted
    figure = np.array(error_figure(image, labels, classes, NAMES, PALETTE))
    ((columns, legend, _),) = grids
    # IoU of a, b and c: 1, 2/3 and 0.
    assert captions(columns) == [["image", "ground truth"], ["prediction", "83.3% correct, mIoU 55.6%"]]
    expected = np.zeros((HEIGHT, WIDTH), bool)
    expected[60:120, 160:] = True
    assert np.array_equal(marked(columns[1][1][1]), expected)
    assert [name for name, _ in legend] == [*NAMES, "correct", "wrong", "ignored"]
    assert marked(figure).sum() >= expected.sum()
    truth = np.array(columns[0][1][1])
    assert not {tuple(color) for color in truth[:60].reshape(-1, 3).tolist()} & set(PALETTE)
    assert truth[70, 300].tolist() == [0, 255, 0]


def test_compare_figure_stands_networks_side_by_side(image, grids):
    labels, other = halves(0, 1), halves(0, 0)
    compare_figure(image, [("first", labels), ("second", other)], NAMES, PALETTE, labels.astype(np.int32), -1)
    compare_figure(image, [("first", labels), ("second", other)], NAMES, PALETTE)
    assert captions(grids[0][0]) == [
        ["image", "ground truth"],
        ["first", "100.0% correct, mIoU 100.0%"],
        ["second", "50.0% correct, mIoU 25.0%"],
    ]
    assert [name for name, _ in grids[0][1]] == ["a", "b", "correct", "wrong"]
    assert captions(grids[1][0]) == [["image"], ["first"], ["second"]]
    error_figure(image, labels, other, NAMES, PALETTE)
    assert [name for name, _ in grids[2][1]] == ["a", "b", "correct", "wrong"]  # b is in the labels alone
    with pytest.raises(ValueError, match=r"labels must be 0 \.\. 2, or 255 \(ignored\); got 7"):
        error_figure(image, halves(7, 1), labels, NAMES, PALETTE)
    with pytest.raises(ValueError, match="labels must have the size of their image, 240x320; got 320x240"):
        error_figure(image, labels.T, labels, NAMES, PALETTE)


def test_iterations_figure_marks_changed_pixels(image, grids):
    second = halves(0, 0)
    second[10:20, 5:25] = 1
    instability = halves(0, 1) * np.float32(0.5)
    iterations_figure(image, [halves(0, 0), second], NAMES, PALETTE)
    iterations_figure(image, [halves(0, 0), second], NAMES, PALETTE, instability)
    (plain, legend, _), (columns, _, bars) = grids
    assert marked(plain[2][1][1]).sum() == 200
    assert marked(plain[2][0][1], (0, 255, 0)).sum() == 200
    assert [name for name, _ in legend] == ["a", "b"]
    assert columns[0][1][0] == "instability, mean 0.250"
    assert np.array_equal(np.array(columns[0][1][1]), np.array(colorize(instability, 0, 0.5)))
    assert bars[0][1][-1] == "0.50"


def test_loops_figure_shows_changes_between_passes(image, grids):
    weights = np.zeros((2, 3, 4), np.float32)
    weights[0] = 1
    metres, farther = np.full((HEIGHT, WIDTH), 2.0, np.float32), np.full((HEIGHT, WIDTH), 2.0, np.float32)
    farther[:, :80] = 4.0
    passes = [
        Prediction(image, halves(0, 0), depth=metres, scale_weights=weights),
        Prediction(image, halves(0, 1), depth=farther, scale_weights=weights[::-1]),
    ]
    figure = plot_loops(image, passes, NAMES, PALETTE)
    columns, legend, bars = grids[0]
    assert len(columns) == 4
    assert all(tile is not None for column in columns for _, tile in column)
    assert captions(columns)[1:] == [
        ["loop 0: classes", "loop 1: classes, 50.0% changed"],
        ["depth", "depth, 25.0% changed"],
        ["scale", "scale, 100.0% changed"],
    ]
    changes = columns[0][1][1]
    assert marked(changes).sum() == HEIGHT * WIDTH / 2
    assert marked(changes, dict(legend)["depth changed by > 5%"]).sum() == HEIGHT * WIDTH / 4
    near, far = (np.array(columns[2][1][1].convert("L"))[0, x] for x in (200, 10))
    assert near > far
    assert bars[0][1][0] == "4.0"
    assert bars[0][1][-1] == "2.0"
    plot_loops(image, passes[:1], NAMES, PALETTE)
    assert captions(grids[1][0]) == [["image"], ["loop 0: classes"], ["depth"], ["scale"]]
    assert figure.width > figure.height
    assert np.array(depth_image(np.array([[0.0, 1.2346, 90.0]]))).tolist() == [[0, 1235, 65535]]


def test_gates_figure_shows_each_gate_and_the_changes(image, grids):
    random = np.random.default_rng(0)
    before, after, labels = random.integers(3, size=(3, HEIGHT, WIDTH))
    values = {"G1": np.linspace(0.4, 0.6, HEIGHT * WIDTH).reshape(HEIGHT, WIDTH), "G2": np.full((HEIGHT, WIDTH), 0.7)}
    for changes in (prediction_changes(before, after), prediction_changes(before, after, labels)):
        gates_figure(image.float(), before, values, NAMES, PALETTE, "G1", changes)
    (columns, legend, bars), (with_labels, _, _) = grids
    changed = before != after
    tiles = dict(tile for row in zip(*columns) for tile in row)
    assert [*tiles][:5] == [
        "image",
        "prediction",
        f"G1 = 0: changed {changed.mean():.1%}",
        "G1, mean 0.50, 0.40 to 0.60",
        "G2, mean 0.70, 0.70 to 0.70",
    ]
    assert np.array_equal(marked(tiles[[*tiles][2]], COLORS["changed"]), changed)
    assert np.array_equal(np.array(tiles[[*tiles][3]]), np.array(colorize(values["G1"], 0.4, 0.7)))
    assert (bars[0][1][0], bars[0][1][-1]) == ("0.40", "0.70")
    assert [name for name, _ in legend] == [*NAMES, "changed"]
    parts = prediction_changes(before, after, labels)
    caption = f"G1 = 0: worse {parts['worse'].mean():.1%}, better {parts['better'].mean():.1%}"
    assert caption in {one for column in captions(with_labels) for one in column}


def test_confusion_figure_has_labels_in_rows():
    matrix = np.array([[0, 10, 0], [0, 0, 0], [3, 0, 1]])
    pixels = np.array(confusion_figure(matrix, ["ground", "disc", "sky"]).convert("RGB")).astype(int)
    full = np.argwhere(np.abs(pixels - (8, 48, 107)).sum(-1) < 10)  # the color of 100 %: label 0 taken for class 1
    most = np.argwhere(np.abs(pixels - (28, 108, 177)).sum(-1) < 30)  # of 75 %: label 2 taken for class 0
    assert len(full) > 500
    assert len(most) > 500
    assert full[:, 0].mean() < most[:, 0].mean()
    assert full[:, 1].mean() > most[:, 1].mean()
    assert confusion_figure(np.eye(40), [str(k) for k in range(40)]).size[0] < 1200


def test_reliability_figure_shows_accuracy_and_shares(monkeypatch):
    drawn = []
    monkeypatch.setattr(figures, "figure_to_image", drawn.append)
    confidence, accuracy, count = np.array([np.nan, 0.4, 0.9]), np.array([np.nan, 0.5, 0.6]), np.array([0, 10, 30])
    reliability_figure(confidence, accuracy, count)
    upper, lower = drawn[0].axes
    assert upper.get_title() == "ECE 25.0%"  # 1/4 * .1 + 3/4 * .3
    assert [bar.get_height() for bar in upper.patches] == [0.5, 0.6]
    assert [bar.get_x() for bar in upper.patches] == pytest.approx([1 / 3, 2 / 3])
    assert [bar.get_height() for bar in lower.patches] == [0, 25, 75]
    reliability_figure(confidence, accuracy, count, ece=0.125)
    assert drawn[1].axes[0].get_title() == "ECE 12.5%"
    monkeypatch.undo()
    assert reliability_figure(confidence, accuracy, count).size == (550, 650)


def test_index_image_of_many_classes_has_16_bits():
    classes = np.full((4, 4), 300, np.int32)
    assert np.array(index_image(classes, voc_palette(301)))[0, 0] == 300


@pytest.mark.parametrize(("side", "zoom"), [(200, 5), (501, 1)])
def test_small_images_are_enlarged_with_their_instances(side, zoom):
    mask = torch.ones(20, 30, dtype=torch.bool)
    figure = draw_instances(torch.zeros(3, 40, side), [(10, 60, mask)], [[60.0, 10.0, 90.0, 30.0]], [""])
    drawn = np.asarray(figure).astype(int)
    assert drawn.shape == (40 * zoom, side * zoom, 3)
    color = drawn[10 * zoom, 75 * zoom]
    edges = [(10, 75), (30, 75), (20, 60), (20, 90)]
    assert all((drawn[row * zoom, column * zoom] == color).all() for row, column in edges)
    inside = drawn[11 * zoom + 1 : 29 * zoom, 61 * zoom + 1 : 89 * zoom]
    assert np.abs(inside - color / 2).max() <= 0.5
    assert drawn.sum(2)[: 10 * zoom].sum() == 0


def test_instances_have_the_color_of_their_class_and_small_ones_are_in_front(monkeypatch):
    spots = []
    monkeypatch.setattr(figures, "place_captions", lambda *arguments: spots.append(place_captions(*arguments)) or [])
    image = torch.zeros(3, 600, 600, dtype=torch.uint8)
    masks = [(100, 100, torch.ones(50, 50)), (0, 0, torch.ones(400, 400)), (450, 450, torch.ones(100, 100))]
    masks = [(top, left, mask.bool()) for top, left, mask in masks]
    boxes = [(left, top, left + mask.shape[1], top + mask.shape[0]) for top, left, mask in masks]
    drawn = np.array(draw_instances(image, masks, boxes, ["x"] * 3, labels=[2, 1, 1], names=["none", "cat", "dog"]))
    large, small, last = (drawn[y, x].astype(int) for y, x in ((300, 300), (125, 125), (500, 500)))
    hues = [np.argsort(color).tolist() for color in (large, small, last)]
    assert hues[0] == hues[2] != hues[1]
    assert (large != last).any()  # another shade
    assert drawn.shape[0] > 600  # the legend
    crowd = [(*box, *np.add(box, 40)) for box in np.random.default_rng(0).integers(0, 550, (60, 2)).tolist()]
    one = torch.ones(40, 40, dtype=torch.bool)
    masks = [(y, x, one) for x, y, _, _ in crowd]
    draw_instances(image, masks, crowd, ["cat 0.50"] * 60, labels=[1] * 60, names=["none", "cat"])
    found = [spot for spot in spots[1] if spot]
    assert len(found) > 15
    assert max(x2 - x1 for x1, _, x2, _ in found) < 40  # the score alone


def test_captions_do_not_cover_one_another_or_small_boxes():
    random = np.random.default_rng(0)
    corners = random.uniform(0, 380, (80, 2))
    boxes = [(x, y, x + w, y + w) for (x, y), w in zip(corners, random.choice([10, 60], 80))]
    placed = place_captions([(50, 12)] * 80, boxes, 400, 300)
    found = [spot for spot in placed if spot]
    assert 20 < len(found) < 80
    small = [box for box in boxes if box[2] - box[0] < 11]
    for number, (x1, y1, x2, y2) in enumerate(found):
        assert min(x1, y1) >= 0
        assert x2 <= 400
        assert y2 <= 300
        for other in (*found[:number], *small):
            assert x1 >= other[2] or x2 <= other[0] or y1 >= other[3] or y2 <= other[1]
    assert place_captions([(50, 12)], [(100, 100, 300, 200)], 400, 300) == [(100, 88, 150, 100)]


def test_tiles_are_enlarged_or_reduced_to_what_can_be_read():
    assert tile_size(30, 40) == (240, 320)
    assert tile_size(360, 480) == (360, 480)
    assert tile_size(6000, 8000) == (1500, 2000)
    values = np.arange(12).reshape(3, 4)
    assert np.array_equal(layout.fit_map(values)[::80, ::80], values)
    large = np.zeros((2500, 4000), bool)
    large[1000:1500, 2000:3000] = True
    assert layout.fit_map(large).mean() == pytest.approx(0.05)
    assert [len(column) for column in wrapped([("", None)] * 9)] == [3] * 3
    assert [len(column) for column in wrapped([("", None)] * 7)] == [2] * 4
    assert [tile[0] for tile in next(iter(zip(*wrapped([(str(k), None) for k in range(6)]))))] == ["0", "1", "2"]


def test_grid_breaks_its_legend_and_shrinks_captions_to_its_tiles(image):
    tile = ("x" * 60, index_image(halves(0, 1), PALETTE).convert("RGB"))
    few, many = (np.array(image_grid([[tile], [tile]], [("name", (1, 2, 3))] * count)) for count in (1, 40))
    assert many.shape[0] > few.shape[0] + 30
    assert many.shape[1] == few.shape[1]
    top = few[8:20]  # the caption of the first tile ends before the second one
    assert (top[:, 8 + WIDTH : 16 + WIDTH] == 255).all()
    assert (few == (1, 2, 3)).all(-1).sum() > 100
