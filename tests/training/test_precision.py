"""Mixed precision in training."""

import copy

import pytest
import torch
from torch import nn

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
