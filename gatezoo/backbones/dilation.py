"""Turn strides into dilation, for convolutional networks that timm does not dilate.

At the positions of the strided network a dilated one has the same values, if the image's sides are multiples of the
strides.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ..layers.resize import sum_tensors

WINDOWS = (nn.Conv2d, nn.MaxPool2d, nn.AvgPool2d)
# Modules that read no neighbors. Others (attention, averages of the whole map) would read other values once dilated.
POINTWISE = (_BatchNorm, nn.Identity, nn.Dropout, nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.ELU, nn.SiLU, nn.GELU)


class DilatedPool2d(nn.Module):
    """Pooling with stride 1 over k x k positions, ``dilation`` apart: (B, C, h, w) -> (B, C, h, w).

    Position p reads p - padding * dilation, ... in steps of ``dilation``; those outside the map do not count.

    Args:
        kind: "max" or "average".
        kernel: k.
        padding: of the pool that this one replaces.
        dilation: distance between the positions.
    """

    def __init__(self, kind: str, kernel: int, padding: int, dilation: int):
        super().__init__()
        self.kind, self.kernel, self.padding, self.dilation = kind, kernel, padding, dilation

    def forward(self, x: Tensor) -> Tensor:
        before = self.padding * self.dilation
        edges = (before, (self.kernel - 1) * self.dilation - before) * 2
        if self.kind == "max":
            return F.max_pool2d(F.pad(x, edges, value=-math.inf), self.kernel, 1, 0, self.dilation)
        return self._sum(F.pad(x, edges)) / self._sum(F.pad(torch.ones_like(x[:1, :1]), edges))

    def _sum(self, x: Tensor) -> Tensor:
        reach = (self.kernel - 1) * self.dilation
        height, width = x.shape[-2] - reach, x.shape[-1] - reach
        steps = [i * self.dilation for i in range(self.kernel)]
        rows = sum_tensors(x[..., step : step + height, :] for step in steps)
        return sum_tensors(rows[..., step : step + width] for step in steps)

    def extra_repr(self) -> str:
        return f"{self.kind}, kernel={self.kernel}, padding={self.padding}, dilation={self.dilation}"


def input_strides(net: nn.Module, image: Tensor) -> dict[str, int]:
    """Run the network, and return by name the stride of the map that each convolution and pool reads."""
    strides: dict[str, int] = {}

    def make_hook(name: str) -> Callable[[nn.Module, tuple[Tensor]], None]:
        def record(module: nn.Module, inputs: tuple[Tensor]) -> None:
            strides[name] = 2 ** round(math.log2(image.shape[-1] / inputs[0].shape[-1]))

        return record

    windows = [(name, module) for name, module in net.named_modules() if isinstance(module, WINDOWS)]
    hooks = [module.register_forward_pre_hook(make_hook(name)) for name, module in windows]
    try:
        with torch.no_grad():
            net(image)
    finally:
        for handle in hooks:
            handle.remove()
    return strides


def is_dilatable(net: nn.Module) -> bool:
    """Return whether :func:`dilate` handles all modules of the network: pools, convolutions, pointwise modules."""

    def supported(module: nn.Module) -> bool:
        if isinstance(module, nn.AvgPool2d):
            # Padding that counts would have to be distinguished from positions beyond it.
            return _side(module.padding) == 0 and not module.ceil_mode and module.divisor_override is None
        if isinstance(module, nn.MaxPool2d):
            return not module.ceil_mode and _side(module.dilation) == 1
        if isinstance(module, nn.Conv2d):
            # With stride 1 the map must keep its size, or levels of one stride would differ in it.
            if isinstance(module.padding, str) or module.padding_mode != "zeros" or len(set(module.stride)) > 1:
                return False
            sides = zip(module.kernel_size, module.dilation, module.padding, strict=True)
            return all(2 * pad == gap * (side - 1) for side, gap, pad in sides)
        return isinstance(module, POINTWISE)

    leaves = (module for module in net.modules() if isinstance(module, WINDOWS) or not any(module.children()))
    return all(supported(module) for module in leaves)


def dilate(net: nn.Module, strides: Mapping[str, int], output_stride: int) -> None:
    """Change the network, in place, so that no map has a larger stride than ``output_stride``.

    A window that reads a map of stride s > output_stride gets its taps s / output_stride apart; a window that would
    step beyond ``output_stride`` takes steps of 1. Names and shapes of parameters stay.

    Args:
        net: a network for which :func:`is_dilatable` holds.
        strides: of the network as it was, from :func:`input_strides`.
        output_stride: largest stride of a map.
    """
    for name, stride in strides.items():
        module, spread = net.get_submodule(name), max(1, stride // output_stride)
        assert isinstance(module, WINDOWS)
        steps = stride * _side(module.stride) > output_stride
        if isinstance(module, nn.Conv2d):
            assert not isinstance(module.padding, str)
            module.padding = tuple(spread * side for side in module.padding)
            module.dilation = tuple(spread * side for side in module.dilation)
            module.stride = (1, 1) if steps else module.stride
        elif steps or spread > 1:
            kind = "max" if isinstance(module, nn.MaxPool2d) else "average"
            net.set_submodule(name, DilatedPool2d(kind, _side(module.kernel_size), _side(module.padding), spread))


def dilate_stage_entries(net: nn.Module) -> None:
    """Give each convolution that lost its stride the dilation of those after it, in place.

    torchvision's MobileNetV3 is dilated like this. The usual way, which :func:`dilate` follows, leaves such a
    convolution as it was, so that it reads the same positions as with its stride.
    """
    wide = [module for module in net.modules() if isinstance(module, nn.Conv2d) and _side(module.kernel_size) > 1]
    for module, after in itertools.pairwise(wide):
        if module.stride == (1, 1) and _side(module.dilation) < _side(after.dilation):
            module.dilation = after.dilation
            module.padding = tuple(_side(module.dilation) * (side // 2) for side in module.kernel_size)


def _side(value: int | tuple[int, ...]) -> int:
    return value if isinstance(value, int) else value[0]
