"""Exported networks reproduce the logits of eager mode at other sizes than the traced one, odd ones included."""

import numpy as np
import pytest
import torch

import gatezoo

SIZES = [(64, 96), (65, 97), (101, 83)]


def free_sizes():
    """Dynamic shapes of an image."""
    return {2: torch.export.Dim("height", min=64, max=4096), 3: torch.export.Dim("width", min=64, max=4096)}


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(("test_dignet", "mobilenetv2_035"), marks=pytest.mark.export),
        ("test_fcn", "convnext_atto"),
        pytest.param(("test_dignet", "resnet18"), marks=pytest.mark.export),
        ("test_rignet", "mobilenetv2_035"),
        pytest.param(("test_rignet_su", "mobilenetv2_035"), marks=pytest.mark.export),
        pytest.param(("test_zigzag", "mobilenetv2_035"), marks=pytest.mark.export),
        pytest.param(("test_zigzag", "tf_efficientnet_lite0"), marks=pytest.mark.export),
        pytest.param(("test_gff", "mobilenetv2_035"), marks=pytest.mark.export),
        ("test_depthgate", "mobilenetv2_035"),
    ],
    ids=lambda case: f"{case[0]}-{case[1]}",
)
def case(request):
    name, backbone = request.param
    torch.manual_seed(0)
    model = gatezoo.create_model(name, backbone=backbone, num_classes=5).eval()
    for gate in (module for module in model.modules() if isinstance(getattr(module, "weigh", None), torch.nn.Conv2d)):
        torch.nn.init.normal_(gate.weigh.weight, std=0.1)
    return model


@pytest.fixture(scope="module")
def program(case):
    return torch.export.export(case, (torch.randn(1, 3, 72, 88),), dynamic_shapes=(free_sizes(),))


@torch.no_grad()
def test_torch_export(case, program):
    for size in SIZES:
        image = torch.randn(1, 3, *size)
        torch.testing.assert_close(program.module()(image), case(image), atol=1e-5, rtol=1e-5)


def test_sizes_of_maps_are_short_expressions(case, program):
    """A tracer carries them through every operation: long ones take minutes."""
    sizes = {str(side) for node in program.graph.nodes for side in getattr(node.meta.get("val"), "shape", ())}
    assert max(map(len, sizes)) < 200, max(sizes, key=len)


@torch.no_grad()
def test_onnx(case, program, tmp_path):
    import onnxruntime

    path = tmp_path / "model.onnx"
    torch.onnx.export(program, f=str(path), input_names=["image"], output_names=["logits"], dynamo=True, verbose=False)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    for size in SIZES:
        image = torch.randn(1, 3, *size)
        (logits,) = session.run(None, {session.get_inputs()[0].name: image.numpy()})
        np.testing.assert_allclose(logits, case(image).numpy(), atol=1e-4, rtol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize("combine", ["attention", "predicted"])
def test_multiscale_network_is_exported(combine):
    torch.manual_seed(0)
    model = gatezoo.create_model(
        "test_depthgate_multiscale", backbone="mobilenetv2_035", num_classes=5, combine=combine
    ).eval()
    program = torch.export.export(model, (torch.randn(1, 3, 72, 88),), dynamic_shapes=(free_sizes(),))
    for size in SIZES:
        image = torch.randn(1, 3, *size)
        torch.testing.assert_close(program.module()(image), model(image), atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_given_depth_is_exported_as_an_input(tmp_path):
    import onnxruntime

    torch.manual_seed(0)
    model = gatezoo.create_model("test_depthgate_given", backbone="mobilenetv2_035", num_classes=5).eval()
    height, width = free_sizes().values()
    shapes = {"image": {2: height, 3: width}, "iterations": None, "depth": {1: height, 2: width}}
    program = torch.export.export(
        model,
        (torch.randn(1, 3, 72, 88),),
        {"iterations": 2, "depth": torch.rand(1, 72, 88) * 6},
        dynamic_shapes=shapes,
    )
    path = tmp_path / "model.onnx"
    torch.onnx.export(program, f=str(path), input_names=["image", "depth"], dynamo=True, verbose=False)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    names = [node.name for node in session.get_inputs()]
    for size in SIZES:
        image, depth = torch.randn(1, 3, *size), torch.rand(1, *size) * 6
        depth[:, : size[0] // 2, ::3] = torch.nan
        expected = model(image, iterations=2, depth=depth)
        torch.testing.assert_close(program.module()(image, iterations=2, depth=depth), expected, atol=1e-5, rtol=1e-5)
        (logits,) = session.run(None, dict(zip(names, (image.numpy(), depth.numpy()))))
        np.testing.assert_allclose(logits, expected.numpy(), atol=1e-4, rtol=1e-4)


class Probe(torch.nn.Module):
    """Raw outputs of a detector's heads for fixed boxes: what follows depends on values."""

    def __init__(self, model):
        super().__init__()
        self.model = model
        self.boxes = torch.tensor([[0.0, 0, 22, 20], [1, 1, 12, 13], [2, 0, 9, 9], [0, 3, 7, 8], [1, 2, 6, 6.5]])

    def forward(self, image):
        found = self.model.roi_heads.probe(self.model.maps(image)[1], self.boxes, 2)
        return torch.cat([x.flatten() for x in found])


@torch.no_grad()
@pytest.mark.export
def test_deformable_layers_are_exported(tmp_path):
    import onnxruntime

    torch.manual_seed(0)
    model = gatezoo.create_model("test_deformable_maskrcnn", backbone="mobilenetv2_035", num_classes=3).eval()
    image = torch.randn(1, 3, 96, 128)
    plain = Probe(model)(image)
    for name, parameter in model.named_parameters():
        if ".offset" in name:
            torch.nn.init.normal_(parameter, std=0.02)
    network = Probe(model)
    moved = (network(image) - plain).abs().max()
    sides = {axis: 32 * torch.export.Dim(name, min=3, max=128) for axis, name in ((2, "height"), (3, "width"))}
    program = torch.export.export(
        network,
        (torch.randn(1, 3, 160, 256),),
        dynamic_shapes=(sides,),
        prefer_deferred_runtime_asserts_over_guards=True,
    )
    path = tmp_path / "model.onnx"
    torch.onnx.export(program, f=str(path), input_names=["image"], dynamo=True, verbose=False)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    for size in ((96, 128), (224, 192)):
        image = torch.randn(1, 3, *size)
        expected = network(image)
        torch.testing.assert_close(program.module()(image), expected, atol=1e-5, rtol=1e-5)
        (found,) = session.run(None, {"image": image.numpy()})
        error = (torch.from_numpy(found) - expected).abs().max()
        assert error < 5e-4 * expected.abs().max()
        assert error < 0.01 * moved
