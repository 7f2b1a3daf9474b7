"""Strides turned into dilation, for convolutional networks that their library does not dilate.

At the positions that the strided network has, a dilated one has the same numbers, if its sides divide by the strides.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

WINDOWS = (nn.Conv2d, nn.MaxPool2d, nn.AvgPool2d)
# Whatever looks at no neighbours. Anything else (attention, averages of the whole map) would see other numbers.
POINTWISE = (_BatchNorm, nn.Identity, nn.Dropout, nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.ELU, nn.SiLU, nn.GELU)


class DilatedPool2d(nn.Module):
    """A pool of stride 1 over k x k positions, ``dilation`` apart: (B, C, h, w) -> (B, C, h, w).

    Position p reads p - padding * dilation, ... in steps of ``dilation``; those outside the map do not count.
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
        rows = sum(x[..., step : step + height, :] for step in steps)
        return sum(rows[..., step : step + width] for step in steps)

    def extra_repr(self) -> str:
        return f"{self.kind}, kernel={self.kernel}, padding={self.padding}, dilation={self.dilation}"


def input_strides(net: nn.Module, image: Tensor) -> dict[str, int]:
    """By name, the stride of the map that each convolution and pool reads, from a run of the network."""
    found: dict[str, int] = {}

    def hook(name: str):
        def look(module: nn.Module, inputs: tuple[Tensor]) -> None:
            found[name] = 2 ** round(math.log2(image.shape[-1] / inputs[0].shape[-1]))

        return look

    windows = [(name, module) for name, module in net.named_modules() if isinstance(module, WINDOWS)]
    hooks = [module.register_forward_pre_hook(hook(name)) for name, module in windows]
    try:
        with torch.no_grad():
            net(image)
    finally:
        for handle in hooks:
            handle.remove()
    return found


def is_dilatable(net: nn.Module) -> bool:
    """Whether the network is made of nothing but what :func:`dilate` knows: pools, convolutions, pointwise modules."""

    def known(module: nn.Module) -> bool:
        if isinstance(module, nn.AvgPool2d):
            # Zeros around the map that count would have to be told from what lies beyond them.
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

    return all(known(module) for module in net.modules() if isinstance(module, WINDOWS) or not any(module.children()))


def dilate(net: nn.Module, read: Mapping[str, int], output_stride: int) -> None:
    """Change the network, in place, so that no map has a larger stride than ``output_stride``.

    A window that reads a map of stride s > output_stride gets its taps s / output_stride apart; a window that would
    step beyond ``output_stride`` takes steps of 1. Names and shapes of parameters stay.

    Args:
        read: of the network as it was, from :func:`input_strides`.
    """
    for name, stride in read.items():
        module, spread = net.get_submodule(name), max(1, stride // output_stride)
        steps = stride * _side(module.stride) > output_stride
        if isinstance(module, nn.Conv2d):
            module.padding = tuple(spread * side for side in module.padding)
            module.dilation = tuple(spread * side for side in module.dilation)
            module.stride = (1, 1) if steps else module.stride
        elif steps or spread > 1:
            kind = "max" if isinstance(module, nn.MaxPool2d) else "average"
            net.set_submodule(name, DilatedPool2d(kind, _side(module.kernel_size), _side(module.padding), spread))


def dilate_stage_entries(net: nn.Module) -> None:
    """Give each convolution that lost its stride the dilation of those after it, in place, as torchvision's MobileNetV3
    has it.

    The usual way, and ours otherwise, leaves it as it was, so that it sees what it saw with its stride.
    """
    wide = [module for module in net.modules() if isinstance(module, nn.Conv2d) and _side(module.kernel_size) > 1]
    for module, after in itertools.pairwise(wide):
        if module.stride == (1, 1) and _side(module.dilation) < _side(after.dilation):
            module.dilation = after.dilation
            module.padding = tuple(_side(module.dilation) * (side // 2) for side in module.kernel_size)


def _side(value: int | tuple[int, ...]) -> int:
    return value if isinstance(value, int) else value[0]
