"""Mixed precision in training."""

import copy

import pytest
import torch
from torch import nn

import gatezoo
from gatezoo.training.precision import mixed_precision, resolve_amp_dtype


@pytest.mark.parametrize("dilation", [1, 2, 4])
def test_depthwise_convolutions_have_exact_gradients_in_mixed_precision(dilation):
    conv = nn.Conv2d(64, 64, 3, padding=dilation, dilation=dilation, groups=64, bias=False)
    exact = copy.deepcopy(conv)
    conv.to(memory_format=torch.channels_last)
    image = torch.randn(4, 64, 32, 32)
    weight = torch.randn(4, 64, 32, 32)
    (exact(image) * weight).sum().backward()
    with mixed_precision(conv, "cpu") as autocast:
        with autocast:
            out = conv(image.contiguous(memory_format=torch.channels_last).bfloat16())
        (out * weight).sum().backward()
    assert (conv.weight.grad - exact.weight.grad).norm() < 0.01 * exact.weight.grad.norm()


def test_other_convolutions_run_in_bf16_and_modules_are_restored():
    model = nn.Sequential(nn.Conv2d(8, 8, 1), nn.Conv2d(8, 8, 3, groups=8))
    with mixed_precision(model, "cpu") as autocast, autocast:
        assert model[0](torch.randn(1, 8, 5, 5)).dtype == torch.bfloat16
        assert model(torch.randn(1, 8, 5, 5)).dtype == torch.float32
    assert "forward" not in vars(model[1])
    with mixed_precision(model, "cpu", "none") as autocast, autocast:
        assert model[0](torch.randn(1, 8, 5, 5)).dtype == torch.float32
        assert "forward" not in vars(model[1])


@pytest.mark.parametrize(("supported", "amp_dtype"), [(True, "bf16"), (False, "none")])
def test_cpu_without_bf16_trains_in_float32_with_a_warning(supported, amp_dtype, monkeypatch, caplog):
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: supported)
    assert resolve_amp_dtype("bf16", "cpu") == amp_dtype
    assert ("float32" in caplog.text) == (not supported)
    assert resolve_amp_dtype("bf16", "cuda") == "bf16"
    assert [resolve_amp_dtype(other, "cpu") for other in ("none", "fp16")] == ["none", "fp16"]


@torch.no_grad()
@pytest.mark.parametrize("name", ["test_maskrcnn_fpn", "test_fcis"])
def test_boxes_of_a_detector_are_found_in_float32(name, monkeypatch):
    """The maps come from bf16, and what is found in given maps does not depend on it."""
    model = gatezoo.create_model(name, num_classes=3).eval()
    images = [torch.rand(3, 96, 96)]
    with mixed_precision(model, "cpu") as autocast, autocast:
        maps = model.maps(torch.randn(1, 3, 96, 96))
    assert {x.dtype for own in maps for x in own} == {torch.float32}
    assert all(torch.equal(x, x.bfloat16().float()) for own in maps for x in own)
    monkeypatch.setattr(model, "maps", lambda _: maps)
    plain = model(images)
    assert len(plain[0]["boxes"]) > 0
    with mixed_precision(model, "cpu") as autocast, autocast:
        mixed = model(images)
    for key in ("boxes", "scores"):
        assert torch.equal(mixed[0][key], plain[0][key])
