"""Gate maps of an image, and their figure."""

from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.commands import run
from helpers.headers import header
from PIL import Image
from safetensors.torch import save_file

import gatezoo
from gatezoo.inference.gate_maps import ablate_gate, compute_gate_maps, resize_gate
from gatezoo.inference.predictor import Predictor
from gatezoo.visualization.gates import prediction_changes

GATED = ["test_gff", "test_dignet", "test_rignet", "test_rignet_su"]


@pytest.fixture
def image():
    return torch.randint(256, (3, 65, 97), dtype=torch.uint8)


def normalized(model, image):
    """Return the batch that the network is shown."""
    return model.make_normalize()(image[None]).contiguous(memory_format=torch.channels_last)


def with_random_gates(model):
    """Give the gates random weights, so that they differ from pixel to pixel."""
    for gate in model.gate_modules().values():
        for conv in (module for module in gate.modules() if isinstance(module, torch.nn.Conv2d)):
            torch.nn.init.normal_(conv.weight, std=0.3)
    return model


@torch.no_grad()
@pytest.mark.parametrize("name", [*GATED, "test_depthgate"])
def test_gate_maps_are_the_gates_of_the_outputs(name, image):
    model = with_random_gates(gatezoo.create_model(name, num_classes=4)).eval()
    found = compute_gate_maps(model, image)
    outputs = model.outputs(normalized(model, image))
    assert found.gates.keys() == {f"G{number}" for number in outputs.gates[-1]}
    assert np.array_equal(found.classes, gatezoo.predict(model, image))
    for number, gate in outputs.gates[-1].items():
        mean = torch.nn.functional.interpolate(gate.mean(1, keepdim=True), (65, 97), mode="bilinear")[0, 0]
        np.testing.assert_allclose(found.gates[f"G{number}"], mean.numpy(), atol=1e-6)
    assert found.ablated is None
    assert found.ablated_classes is None


@torch.no_grad()
def test_gate_maps_of_a_padded_image_are_cropped(image):
    model = gatezoo.create_model("test_gff", backbone="hrnet_w18_small", output_stride=32).eval()
    found = compute_gate_maps(model, image)
    gate = model.outputs(normalized(model, image)).gates[0][4]
    assert gate.shape[-2:] == (3, 4)
    whole = torch.nn.functional.interpolate(gate, (96, 128), mode="bilinear")[0, 0, :65, :97]
    np.testing.assert_allclose(found.gates["G4"], whole.numpy(), atol=1e-6)


@torch.no_grad()
@pytest.mark.parametrize("name", GATED)
def test_ablated_gate_is_zero_only_within_the_context(name, image):
    model = with_random_gates(gatezoo.create_model(name, num_classes=4)).eval()
    batch = normalized(model, image)
    before = model.outputs(batch)
    for number in model.gate_modules():
        with ablate_gate(model, f"g{number}") as key:
            assert key == f"G{number}"
            outputs = model.outputs(batch)
        assert not outputs.gates[-1][number].any()
        assert not torch.equal(outputs.logits, before.logits)
        others = {n for n, gate in outputs.gates[-1].items() if not gate.any()}
        assert others == {number}
    assert torch.equal(model(batch), before.logits)
    with pytest.raises(RuntimeError, match="on purpose"), ablate_gate(model, "G4"):
        raise RuntimeError("on purpose")
    assert torch.equal(model(batch), before.logits)


@torch.no_grad()
def test_ablation_is_compared_with_the_learned_gate(image, monkeypatch):
    model = with_random_gates(gatezoo.create_model("test_gff", num_classes=4)).eval()
    runs = []
    outputs = Predictor.outputs

    def recording(*arguments):
        runs.append(outputs(*arguments))
        return runs[-1]

    monkeypatch.setattr(Predictor, "outputs", recording)
    found = compute_gate_maps(model, image, ablate="2")
    learned, ablated = runs
    assert found.ablated == "G2"
    assert learned.gates[0][2].any()
    assert not ablated.gates[0][2].any()
    assert np.array_equal(found.classes, learned.logits.argmax(1)[0].numpy())
    assert np.array_equal(found.ablated_classes, ablated.logits.argmax(1)[0].numpy())
    assert found.gates["G2"].any()


def test_prediction_changes():
    before = np.array([[0, 1, 2, 3, 1]])
    after = np.array([[0, 2, 1, 0, 0]])
    labels = np.array([[0, 1, 1, 2, 255]])
    assert prediction_changes(before, after)["changed"].tolist() == [[False, True, True, True, True]]
    found = prediction_changes(before, after, labels)
    assert found["worse"].tolist() == [[False, True, False, False, False]]
    assert found["better"].tolist() == [[False, False, True, False, False]]
    assert prediction_changes(before, after, np.array([[9, 1, 9, 9, 0]]), ignore_index=9)["better"].tolist() == [
        [False] * 4 + [True]
    ]
    with pytest.raises(ValueError, match="labels must have the size of their image, 1x5; got 5x1"):
        prediction_changes(before, after, labels.T)


def test_command_draws_gates_and_ablates_one(monkeypatch, capsys, shapes, tmp_path):
    image, out = shapes / "images/03.png", tmp_path / "new/gates.png"
    name = "dignet_lite0_8s"
    code, text, err = run(monkeypatch, capsys, "gates", name, image, "--out", out)
    assert code == 0, err
    device, *lines = text.splitlines()
    assert device.startswith("running on ")
    assert [line.split(":")[0] for line in lines] == ["G5", "G6", str(out)]
    assert Image.open(out).format == "PNG"
    code, text, err = run(
        monkeypatch, capsys, "gates", name, image, "--out", out, "--ablate", "g5", "--labels",
        shapes / "labels/03.png",
    )  # fmt: skip
    assert code == 0, err
    assert [line.split()[3] for line in text.splitlines() if line.startswith("G5 = 0")] == ["worse", "better"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("plain.safetensors", "03.png"), "gate maps require a network with gates"),
        (
            ("dignet_lite0_8s", "03.png", "--iterations", 1),
            "at least two iterations if it is unrolled; got no gates",
        ),
        (
            ("dignet_lite0_8s", "03.png", "--ablate", "G9"),
            "the gate to ablate must be one of G5, G6; got 'G9'",
        ),
        (
            ("dignet_lite0_8s", "03.png", "--ablate", ""),
            "the gate to ablate must be one of G5, G6; got ''",
        ),
        (("plain.safetensors", "03.png", "--iterations", 2), "iterations requires a network that is unrolled"),
        (("dignet_lite0_8s", "03.png", "--labels", "x.png"), "pass --ablate G1"),
        (("dignet_lite0_8s", "absent.png"), "there is none at absent.png"),
        (
            ("dignet_lite0_8s", "03.png", "--iterations", 10**22),
            "iterations must be a whole number of passes, 1 to 100",
        ),
        (("dignet_lite0_8s", "03.png", "--depth-map", "03.png"), "depth_map must be left out: only networks"),
        (("zigzag_maskrcnn_mobilenetv2", "03.png"), "this model's task is 'instance', and it has no gates"),
    ],
)
def test_errors_are_one_line(monkeypatch, capsys, shapes, arguments, message):
    monkeypatch.chdir(shapes / "images")
    save_file(gatezoo.create_model("test_fcn", num_classes=4).state_dict(), "plain.safetensors", header())
    code, _, err = run(monkeypatch, capsys, "gates", *arguments, "--out", "gates.png")
    assert code == 2
    assert message in err
    assert len(err.strip().splitlines()) == 1
    code, _, err = run(monkeypatch, capsys, "gates", "plain.safetensors", "03.png", "--out", "gates.gif")
    assert (code, err) == (2, "gatezoo: the figure must be a .png or .jpg; got gates.gif\n")
    Path("linked.png").hardlink_to("03.png")
    code, _, err = run(monkeypatch, capsys, "gates", "plain.safetensors", "03.png", "--out", "linked.png")
    assert code == 2
    assert "an output must not replace an input; linked.png would replace 03.png" in err


@torch.no_grad()
@pytest.mark.parametrize("name", [*GATED, "test_depthgate"])
def test_gates_of_each_pass_are_those_of_the_outputs(name, image):
    model = with_random_gates(gatezoo.create_model(name, num_classes=4)).eval()
    predictor = Predictor(model, shared=True)
    passes = predictor.run(image, all_passes=True, gates=True)
    outputs = model.outputs(normalized(model, image))
    expected = [{}] * (len(passes) - len(outputs.gates)) + outputs.gates
    for one, gates in zip(passes, expected, strict=True):
        assert one.gates.keys() == {f"G{number}" for number in gates}
        for number, gate in gates.items():
            assert torch.equal(one.gates[f"G{number}"], gate[0].mean(0))
    whole = {name: resize_gate(gate, (65, 97), model.backbone.size_divisor) for name, gate in passes[-1].gates.items()}
    for key, gate in compute_gate_maps(model, image).gates.items():
        assert np.array_equal(whole[key].numpy(), gate)
    assert predictor.run(image, all_passes=True)[-1].gates == {}
