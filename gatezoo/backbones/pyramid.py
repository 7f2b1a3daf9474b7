"""A timm backbone as a pyramid of feature maps, chosen by stride."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from .base import _Backbone


class Pyramid(_Backbone):
    """Maps of chosen strides: image (B, in_chans, H, W) -> [(B, channels[l], ~H / strides[l], ~W / strides[l])].

    Args:
        name: a timm model.
        strides: strides wanted, finest first; by default the deepest map alone. Where several stages share a stride
            (dilated networks), the deepest of them speaks for it; a stride wanted n times means the n deepest.
        output_stride: 32, or 16 or 8 to dilate the last stages, where timm can or the network is plain convolutions.
        in_chans: channels of the image.
        pretrained: True for timm's published weights (network), or the path of a local file of them.
        backbone_args: further keywords of the timm model.

    Raises:
        ValueError: unknown name, or a stride or output stride that the network does not have.
    """

    def __init__(self, name: str, strides: Sequence[int] | None = None, **kwargs):
        super().__init__(name, **kwargs)
        info = self.net.feature_info
        channels, reductions = info.channels(), [min(s, self.output_stride) for s in info.reduction()]
        self._levels = choose_levels(strides, reductions, f"{name!r} at output_stride={self.output_stride}")
        self.strides = [reductions[level] for level in self._levels]
        self.channels = [channels[level] for level in self._levels]

    def forward(self, image: Tensor) -> list[Tensor]:
        maps = self.net(image)
        return [self._to_nchw(maps[level]) for level in self._levels]


def choose_levels(wanted: Sequence[int] | None, reductions: Sequence[int], whose: str) -> list[int]:
    """Numbers of the levels that have the strides wanted, as :class:`Pyramid` says; ``reductions`` are all strides."""
    if wanted is None:
        return [len(reductions) - 1]
    having = {stride: [n for n, given in enumerate(reductions) if given == stride] for stride in wanted}
    if any(len(levels) < list(wanted).count(stride) for stride, levels in having.items()):
        raise ValueError(f"strides of backbone {whose} are {list(reductions)}; got {', '.join(map(str, wanted))}")
    taken = {stride: levels[-list(wanted).count(stride) :] for stride, levels in having.items()}
    return [taken[stride].pop(0) for stride in wanted]
