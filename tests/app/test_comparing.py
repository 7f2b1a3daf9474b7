"""What the Compare tab shows, against gatezoo.predict and gatezoo info."""

import numpy as np
import pytest
import torch
from helpers.pages import captions, file_of, legend, loaded, rows

import gatezoo
from gatezoo.app import comparing
from gatezoo.app.comparing import compare, gmacs_of
from gatezoo.app.image_file import sample_file
from gatezoo.model_info import count_gmacs, count_parameters, on_meta


@pytest.fixture
def path(shapes):
    return shapes / "images/03.png"


def test_two_networks_with_their_difference_time_and_cost(path):
    torch.manual_seed(1)
    one = gatezoo.create_model("test_rignet", num_classes=4, iterations=3).eval()
    other = gatezoo.create_model("test_fcn", num_classes=4).eval()
    text = compare(loaded(one, "one"), loaded(other, "other"), file_of(path))
    first, second = (gatezoo.predict(model, path) for model in (one, other))
    assert captions(text) == ["one", "other", f"different classes: {(first != second).mean():.2%} of the pixels"]
    assert (first != second).any()
    for k, value in legend(text).items():
        assert value == f"{(first == int(k)).mean():.1%} | {(second == int(k)).mean():.1%}"
    header, *lines = rows(text)
    assert header == ["model", "time", "GMAC", "parameters", "classes"]
    expected = count_gmacs(on_meta("test_rignet", num_classes=4), 64, 80, iterations=3)
    assert gmacs_of(one, 64, 80) == expected
    assert lines[0][2:] == [f"{expected:.1f}", f"{count_parameters(one) / 1e6:.2f} M", "4"]
    assert [line[0] for line in lines] == ["one", "other"]
    assert all(float(line[1].removesuffix(" ms")) > 0 for line in lines)


def test_networks_of_other_classes_have_no_difference(path):
    one, other = (loaded(gatezoo.create_model("test_fcn", num_classes=count), str(count)) for count in (3, 5))
    text = compare(one, other, file_of(path))
    assert captions(text) == ["3", "5"]
    assert "no map of their difference" in text


def test_detectors_are_compared_by_their_instances():
    torch.manual_seed(3)
    model = gatezoo.create_model("test_maskrcnn_fpn", num_classes=3)
    cells = sample_file("cells")
    text = compare(loaded(model, "one"), loaded(model, "other"), cells)
    with cells.as_file() as path:
        count = len(gatezoo.predict_instances(model, path)["scores"])
    assert captions(text) == [f"one: {count} instances", f"other: {count} instances"]


def test_what_cannot_be_compared_is_refused(path, monkeypatch):
    plain, detector = loaded(gatezoo.create_model("test_fcn")), loaded(gatezoo.create_model("test_maskrcnn_fpn"))
    with pytest.raises(ValueError, match="networks to compare must have one task"):
        compare(plain, detector, file_of(path))
    monkeypatch.setattr(comparing, "MAX_WHOLE_PIXELS", 5000)
    with pytest.raises(ValueError, match=r"03\.png is 80 x 64: reduce it"):
        compare(plain, plain, file_of(path))


def test_time_is_the_median_of_repeats(path, monkeypatch):
    seconds = iter([0.1, 0.9, 0.2, 0.3])
    monkeypatch.setattr(comparing, "_timed", lambda *_: (np.zeros((64, 80), np.uint8), next(seconds)))
    model = loaded(gatezoo.create_model("test_fcn"))
    assert comparing.measure(model, file_of(path))[1].seconds == 0.3
    seconds = iter([2.5])
    assert comparing.measure(model, file_of(path))[1].seconds == 2.5
