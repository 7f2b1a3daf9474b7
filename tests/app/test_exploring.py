"""What the tab of passes and gates shows, against the predictions of passes and the maps of gates."""

import numpy as np
import pytest
from helpers.pages import captions, file_of, loaded, rows
from helpers.randomize import randomize

import gatezoo
from gatezoo.app import exploring
from gatezoo.app.exploring import close_gates, closed_view, default_passes, explore, passes_view, pixel_view
from gatezoo.inference.gate_maps import compute_gate_maps
from gatezoo.inference.semantic import predict_iterations


@pytest.fixture
def path(shapes):
    return shapes / "images/03.png"


@pytest.mark.parametrize(("name", "passes"), [("test_dignet", 3), ("test_rignet_su", 3), ("test_gff", None)])
def test_passes_and_gates_are_those_of_the_network(name, passes, path):
    model = randomize(gatezoo.create_model(name, num_classes=4))
    found = explore(loaded(model), file_of(path), passes)
    expected = predict_iterations(model, path, passes) if passes else [gatezoo.predict(model, path)]
    assert len(found.passes) == (passes or 1)
    for one, classes in zip(found.passes, expected, strict=True):
        assert np.array_equal(one.classes, classes)
    last = gatezoo.predict(model, path, passes, probabilities=True)
    np.testing.assert_allclose(found.passes[-1].confidence, last.confidence, atol=1e-3)
    if passes:
        np.testing.assert_allclose(found.passes[-1].instability, last.instability, atol=1e-3)
    maps = compute_gate_maps(model, path, iterations=passes).gates
    assert found.gate_names == found.closable == list(maps)
    for gate, values in maps.items():
        np.testing.assert_allclose(found.gate(len(found.passes), gate), values, atol=1e-6)


def test_view_of_a_pass_has_its_changes_and_each_gate_with_its_own_scale(path):
    model = randomize(gatezoo.create_model("test_dignet", num_classes=4))
    mine = loaded(model)
    found = explore(mine, file_of(path), 3)
    first, second, third = (view.classes for view in found.passes)
    text = passes_view(mine, found, 3)
    assert captions(text)[1] == f"changed by pass 3: {(second != third).mean():.2%} of the pixels"
    gates = [caption for caption in captions(text) if caption.startswith("G")]
    assert len(gates) == len(found.gate_names)
    for name, caption in zip(found.gate_names, gates):
        values = found.gate(3, name)
        assert caption == f"{name}: mean {values.mean():.3f}, from {values.min():.3f} to {values.max():.3f}"
        assert f"<span>{values.min():.3f}</span><span>{values.max():.3f}</span>" in text
    text = passes_view(mine, found, 1)
    assert len(captions(text)) == 1
    assert "No gate works in this pass" in text
    assert (first != second).any()


def test_closed_gates_are_those_of_an_ablation(path):
    model = randomize(gatezoo.create_model("test_dignet", num_classes=4))
    mine, name = loaded(model), "G4"
    found = explore(mine, file_of(path), 2)
    assert closed_view(mine, found) == ""
    closed = close_gates(mine, found, [name])
    expected = compute_gate_maps(model, path, name, iterations=2)
    assert np.array_equal(closed.without.classes, expected.ablated_classes)
    changed = (expected.classes != expected.ablated_classes).mean()
    assert changed > 0
    assert captions(closed_view(mine, closed))[1] == f"changed by closing G4: {changed:.2%} of the pixels"
    both = close_gates(mine, closed, ["G4", "G5"])
    assert not np.array_equal(both.without.confidence, closed.without.confidence)
    assert close_gates(mine, both, []).without is None
    # The network that all visitors share has its gates.
    assert np.array_equal(explore(mine, file_of(path), 2).passes[-1].classes, expected.classes)


def test_pixel_says_what_every_pass_and_gate_has_there(path):
    model = randomize(gatezoo.create_model("test_dignet", num_classes=4))
    mine = loaded(model)
    found = close_gates(mine, explore(mine, file_of(path), 2), ["G5"])
    x, y = 70, 20
    header, first, second, closed = rows(pixel_view(mine, found, x, y))
    assert header == ["x 70, y 20", "class", "confidence", "instability", *found.gate_names]
    maps = compute_gate_maps(model, path, "G5", iterations=2)
    one, two = predict_iterations(model, path, 2)
    assert first[:2] == ["pass 1", str(one[y, x])]
    assert first[3:] == ["", *("" for _ in found.gate_names)]
    assert second[:2] == ["pass 2", str(two[y, x])]
    assert second[4:] == [f"{values[y, x]:.3f}" for values in maps.gates.values()]
    assert closed[:2] == ["G5 closed", str(maps.ablated_classes[y, x])]
    assert closed[4:] == ["0.000" if name == "G5" else "" for name in found.gate_names]
    for wrong in ((80, 0), (0, 64), (-1, 0)):
        with pytest.raises(ValueError, match=r"a pixel must be in 0 \.\. 79, 0 \.\. 63; got"):
            pixel_view(mine, found, *wrong)


def test_networks_without_gates_or_with_gates_that_cannot_be_closed(path):
    plain = loaded(gatezoo.create_model("test_fcn", num_classes=4), "plain")
    found = explore(plain, file_of(path))
    assert (len(found.passes), found.gate_names, found.closable) == (1, [], [])
    assert "plain has no gates" in passes_view(plain, found, 1)
    assert rows(pixel_view(plain, found, 0, 0))[0] == ["x 0, y 0", "class", "confidence", "instability"]
    depth = loaded(gatezoo.create_model("test_depthgate", num_classes=4), "depth")
    found = explore(depth, file_of(path))
    assert default_passes(depth) == len(found.passes) > 1
    assert found.gate_names
    assert "has no gates" not in passes_view(depth, found, 2)


def test_what_cannot_be_explored_is_refused(path, monkeypatch):
    with pytest.raises(ValueError, match="those of semantic segmentation; mine finds instances"):
        explore(loaded(gatezoo.create_model("test_maskrcnn_fpn")), file_of(path))
    with pytest.raises(ValueError, match="mine takes the depth of the image: use gatezoo predict --depth-map"):
        explore(loaded(gatezoo.create_model("test_depthgate_given")), file_of(path))
    monkeypatch.setattr(exploring, "MAX_KEPT", 80 * 64 * 2)
    model = loaded(gatezoo.create_model("test_dignet", num_classes=4))
    explore(model, file_of(path), 2)
    with pytest.raises(ValueError, match=r"megapixels for 3 passes; 03.png is 80 x 64: reduce it"):
        explore(model, file_of(path), 3)
