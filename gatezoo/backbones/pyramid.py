"""A timm backbone as a pyramid of feature maps, chosen by stride."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from .base import TimmBackbone, split_blocks


class Pyramid(TimmBackbone):
    """Maps of chosen strides: image (B, in_chans, H, W) -> [(B, channels[l], ~H / strides[l], ~W / strides[l])].

    Args:
        name: a timm model.
        strides: strides of the maps, finest first; by default the deepest map alone. Where several stages share a
            stride (dilated networks), the deepest of them is taken; a stride given n times means the n deepest.
        output_stride: 32, or 16 or 8 to dilate the last stages, where timm can or the network is plain convolutions.
        in_chans: channels of the image.
        pretrained: True for timm's published weights (network), or the path of a local file of them.
        backbone_args: further keywords of the timm model.

    Raises:
        ValueError: unknown name, or a stride or output stride that the network does not have.
    """

    def __init__(self, name: str, strides: Sequence[int] | None = None, **kwargs: Any):
        super().__init__(name, **kwargs)
        channels = self._feature_info.channels()
        reductions = [min(stride, self.output_stride) for stride in self._feature_info.reduction()]
        self._levels = choose_levels(strides, reductions, f"{name!r} at output_stride={self.output_stride}")
        self.strides = [reductions[level] for level in self._levels]
        self.channels = [channels[level] for level in self._levels]

    def forward(self, image: Tensor) -> list[Tensor]:
        maps = self.net(image)
        return [self._to_nchw(maps[level]) for level in self._levels]

    def modules_by_stride(self) -> dict[int, tuple[str, ...]]:
        """Return for each stride the names of the modules between the map before and its own, in order.

        Empty if timm does not run the network's modules one by one.
        """
        blocks = split_blocks(self.net)
        named = [tuple(f"net.{step}" for step in steps) for steps in blocks or []]
        return {stride: named[level] for stride, level in zip(self.strides, self._levels)} if named else {}


def choose_levels(strides: Sequence[int] | None, reductions: Sequence[int], backbone: str) -> list[int]:
    """Return the numbers of the levels that have the given strides, as :class:`Pyramid` documents it.

    Args:
        strides: strides to choose; None for the deepest level.
        reductions: strides of all levels.
        backbone: its name and options, for the message.

    Raises:
        ValueError: a stride that too few levels have.
    """
    if strides is None:
        return [len(reductions) - 1]
    levels = {stride: [level for level, own in enumerate(reductions) if own == stride] for stride in strides}
    if any(len(found) < list(strides).count(stride) for stride, found in levels.items()):
        raise ValueError(f"strides of backbone {backbone} are {list(reductions)}; got {', '.join(map(str, strides))}")
    deepest = {stride: found[-list(strides).count(stride) :] for stride, found in levels.items()}
    return [deepest[stride].pop(0) for stride in strides]
