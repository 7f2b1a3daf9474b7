"""A timm backbone as a chain of blocks that can be run again."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from .base import TimmBackbone, split_blocks


class Stages(TimmBackbone):
    """A backbone as blocks f_1 .. f_{n-1}, each of which can be run alone on any input of its width.

    ``run(i, x)`` is block i: (B, channels[i-1], h, w) -> (B, channels[i], h', w'), with channels[0] = in_chans.
    f_1 is the stem with its max-pool, as in the DIGNet authors' code; timm ends its first stage before the pool.
    Blocks run in order equal the timm network exactly. Arguments and errors as in :class:`Pyramid`.
    """

    def __init__(self, name: str, in_chans: int = 3, **kwargs: Any):
        super().__init__(name, in_chans=in_chans, **kwargs)
        # Names, not modules: a module that is replaced later (SyncBN, a folded BN) is found in its new form.
        steps = split_blocks(self.net)
        if steps is None or len(self._geometry.strides) != len(steps):
            raise ValueError(
                f"blocks of an unrolled network must run one after the other; got backbone {name!r}, which is not such "
                f"a chain (timm wraps it as {type(self.net).__name__}): choose a ResNet, MobileNet, ConvNeXt or Swin"
            )
        self._steps = steps
        self.channels = [in_chans, *self._feature_info.channels()]
        self.strides = [1, *self._geometry.strides]

    def __len__(self) -> int:
        return len(self._steps)

    def run(self, block: int, x: Tensor) -> Tensor:
        """Run block number ``block`` (from 1) on x."""
        if self._nhwc and block > 1:
            x = x.permute(0, 2, 3, 1)
        for step in self._steps[block - 1]:
            x = self.net.get_submodule(step)(x)
        return self._to_nchw(x)

    def forward(self, image: Tensor) -> list[Tensor]:
        """Run all blocks: image -> [f_1, ..., f_{n-1}]."""
        maps = [image]
        for block in range(1, len(self) + 1):
            maps.append(self.run(block, maps[-1]))
        return maps[1:]
