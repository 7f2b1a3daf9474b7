import numpy as np
import pytest
import torch

from gatezoo.utils.palette import voc_palette
from gatezoo.visualization import overlay as overlays
from gatezoo.visualization.overlay import outlines, overlay
from gatezoo.visualization.pixels import colorize, confidence_image, displayable

PALETTE = [(0, 0, 0), (200, 0, 100), (0, 200, 0)]


@pytest.fixture
def disc():
    """A gray image with a square of class 1 in class 0."""
    classes = np.zeros((40, 60), np.uint8)
    classes[10:30, 20:40] = 1
    return torch.full((3, 40, 60), 80, dtype=torch.uint8), classes


@pytest.mark.parametrize(
    ("names", "first", "clear"),
    [
        (["Background", "a", "b"], (9, 9, 9), True),
        (["unlabeled", "a", "b"], (9, 9, 9), True),
        (["sky", "a", "b"], (0, 0, 0), True),
        (["sky", "a", "b"], (9, 9, 9), False),
        (None, (0, 0, 0), True),
    ],
)
def test_background_stays_clear(disc, names, first, clear):
    drawn = np.array(overlay(*disc, [first, *PALETTE[1:]], names))
    assert drawn[2, 2].tolist() == [80 if clear else 41] * 3
    assert np.abs(drawn[20, 30] - np.array([146, 36, 91])).max() <= 1  # .45 * 80 + .55 * color
    assert drawn[10, 30].tolist() == [200, 0, 100]  # the outline is opaque
    assert drawn[9, 30].tolist() == [40 if clear else 9] * 3  # and set off from what is clear by a dark edge


@pytest.mark.parametrize("dtype", [np.uint8, np.int32])
def test_overlay_blends_colors_and_draws_opaque_outlines(dtype):
    image = torch.randint(0, 256, (3, 50, 40), dtype=torch.uint8)
    classes = np.zeros((50, 40), dtype)
    classes[20:40, 10:30], classes[30:, :20] = 1, 2
    palette = voc_palette(4)[1:]
    colors = np.array(palette)[classes]
    blended = 0.45 * image.permute(1, 2, 0).numpy() + 0.55 * colors
    expected = np.where(outlines(classes, 1)[..., None], colors, blended)
    assert np.abs(np.array(overlay(image, classes, palette)) - expected).max() <= 1


def test_outlines_have_their_thickness_on_either_side():
    classes = np.zeros((40, 60), np.uint8)
    classes[10:30, 20:40] = 1
    for thickness in (1, 3):
        expected = np.zeros((40, 60), bool)
        expected[10 - thickness : 30 + thickness, 20 - thickness : 40 + thickness] = True
        expected[10 + thickness : 30 - thickness, 20 + thickness : 40 - thickness] = False
        found = outlines(classes, thickness)
        assert (found != expected).sum() <= 4  # without the outer corners
        assert np.array_equal(found[:, 30], expected[:, 30])
        assert np.array_equal(found[20], expected[20])


def test_overlay_legend_has_the_classes_that_occur(disc, monkeypatch):
    legends = []
    monkeypatch.setattr(overlays, "with_legend", lambda figure, legend, size: legends.append(legend) or figure)
    image, classes = disc
    classes[0, 0] = 2
    overlay(image, classes, [*PALETTE, (1, 1, 1)], ["background", "a", "b", "absent"])
    assert legends == [[("background 83.3%", None), ("a 16.7%", PALETTE[1]), ("b < 0.1%", PALETTE[2])]]
    monkeypatch.undo()
    figure = overlay(image, classes, PALETTE, ["background", "a", "b"])
    assert figure.height > 40
    assert (np.array(figure)[40:] == PALETTE[2]).all(-1).sum() > 50  # its square of color


def test_images_of_any_kind_are_displayable():
    values = torch.tensor([-3.0, 0.4, 254.6, 300.0, 7.0]).view(5, 1, 1)
    assert displayable(values).flatten().tolist() == [0, 0, 255]
    assert displayable(values[2:4]).flatten().tolist() == [255] * 3
    assert displayable(values[4:]).dtype == np.uint8
    image = torch.zeros(3, 2, 2, dtype=torch.uint8)
    assert np.shares_memory(displayable(image), image.numpy())


def test_maps_keep_their_order_as_images():
    confidence = confidence_image(np.array([[0.0, 0.9999, 1.0]]))
    assert np.array(confidence).tolist() == [[0, 65528, 65535]]
    assert confidence.mode == "I;16"
    values = np.array(colorize(np.linspace(-2, 3, 200)[None], -2, 3).convert("L"))[0].astype(int)
    assert (np.diff(values) >= 0).all()
    assert values[-1] - values[0] > 200
    assert colorize(np.array([[-9.0, 9.0]]), 0, 1).tobytes() == colorize(np.array([[0.0, 1.0]])).tobytes()
