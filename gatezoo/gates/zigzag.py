"""Top-down and bottom-up pathways that multiply each other's context, in turns (ZigZagNet, Sec. 3, eqs. 1 to 4)."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor, nn

from ..layers.grid_pool import average_to
from ..layers.resize import resize_to
from ..utils.choices import check_choice
from .region_context import RegionContext, RegionMatrices

COMBINE = {"product": torch.mul, "sum": torch.add}


def group_norm(channels: int, norm: bool) -> nn.Module:
    """Group norm of some eight channels a group (Wu and He, ECCV 2018: 32 groups of 256), or nothing.

    Of one channel a group it would be instance norm, and forget how strong each channel is. Not batch norm: in
    evaluation mode it would be idle from random weights.
    """
    return nn.GroupNorm(math.gcd(max(1, channels // 8), channels), channels) if norm else nn.Identity()


class Fuse(nn.Sequential):
    """relu(W * (a + b)), W a 3x3 convolution, with a norm before the ReLU: two maps (B, C, H, W) -> one."""

    def __init__(self, channels: int, norm: bool = True):
        super().__init__(
            nn.Conv2d(channels, channels, 3, padding=1, bias=not norm),
            group_norm(channels, norm),
            nn.ReLU(inplace=True),
        )

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        return super().forward(first + second)


class Pathway(nn.Module):
    """One way through the levels, each map told by all before it: maps [(B, C, h_k, w_k)] -> as many of these sizes.

    ::

        F_k = P_k + norm(prod over s < k of resize(R_s)),   R_s = RCE_s(F_s)       an empty product is 0

    in the order of travel. R_s is made once, and resized once for each target: a product of resized maps is not the
    resized product, so no two targets share a part of it.

    Args:
        channels: C.
        levels: number of maps.
        resize: (map, size) -> map of that size.
        combine: "product", or "sum" (the SCF of Table 2).
        dense: hear all maps before; else only the one just before.
        norm: of the product.
    """

    def __init__(
        self,
        channels: int,
        levels: int,
        resize: Callable[[Tensor, tuple[int, int]], Tensor],
        combine: str = "product",
        dense: bool = True,
        norm: bool = True,
    ):
        super().__init__()
        self.resize, self.combine, self.dense = resize, COMBINE[check_choice("combine", combine, COMBINE)], dense
        self.norms = nn.ModuleList(group_norm(channels, norm) for _ in range(levels - 1))
        if norm:
            # Products of untrained maps are noise, added in 2 T ways.
            for each in self.norms:
                nn.init.constant_(each.weight, 0.1)

    def forward(self, maps: Sequence[Tensor], encode: Sequence[Callable[[Tensor], Tensor]]) -> list[Tensor]:
        """Args: maps in the order of travel; the RCE of each but the last."""
        found, contexts = [maps[0]], []
        for own, norm, context in zip(maps[1:], self.norms, encode):
            contexts.append(context(found[-1]))
            heard = contexts if self.dense else contexts[-1:]
            heard = [self.resize(other, own.shape[-2:]) for other in heard]
            found.append(own + norm(functools.reduce(self.combine, heard)))
        return found


class ZigZag(nn.Module):
    """Maps of a backbone, finest first -> fused maps of C channels each, of the same sizes.

    ::

        P_d = lateral(B) in stage 0, then relu(W_d * (F_d + F_u))           F_d = top-down pathway of P_d, i = L .. 1
        P_u = F_d        in stage 0, then relu(W_u * (F_d + F_u))           F_u = bottom-up pathway of P_u, j = 1 .. L
        result: relu(W_d * (F_d + F_u)) after the last of T stages

    where W_u reads the new F_d and the F_u of the stage before. Context is resized bilinearly upwards and averaged
    downwards. Norms on the lateral, on every product and before every ReLU are not in the paper: by the letter
    (``norm=False``) numbers leave the range of float32 within few stages from random weights. Those of products start
    at a tenth.

    Args:
        in_channels: channels of the maps.
        channels: C.
        stages: T; 1 is no exchange (Table 1).
        outputs: how many of the finest maps are wanted. What only the others need, in the last stage, is left out.
        regions, groups, pool: of :class:`RegionContext`.
        share_rce: one RCE for each map and way in all stages; else one for each stage too.
        combine, dense: of :class:`Pathway`.
        fusion: without it the result is F_u of the only stage (Table 1).
        bottom_up: without it the result is F_d of the only stage: an encoder and a decoder (Table 1).
        norm: see above.

    Raises:
        ValueError: fewer than one stage, or several where nothing can be fused; outputs that are not maps.
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        channels: int = 128,
        stages: int = 3,
        outputs: int | None = None,
        regions: Sequence[int] = (3, 5, 7),
        groups: int = 1,
        pool: str = "mean",
        share_rce: bool = False,
        combine: str = "product",
        dense: bool = True,
        fusion: bool = True,
        bottom_up: bool = True,
        norm: bool = True,
    ):
        super().__init__()
        levels = len(in_channels)
        outputs = levels if outputs is None else outputs
        if not isinstance(stages, int) or isinstance(stages, bool) or stages < 1:
            raise ValueError(f"stages must be a whole number, at least 1; got {stages!r}")
        if stages > 1 and not (fusion and bottom_up):
            raise ValueError(f"stages of an exchange need fusion and bottom_up; got {stages} without: set stages=1")
        if not 1 <= outputs <= levels:
            raise ValueError(f"outputs must be 1 .. {levels} of the maps; got {outputs}")
        self.stages, self.share_rce, self.regions = stages, share_rce, tuple(regions)
        # What the last stage's bottom-up pathway must reach.
        reach = [levels] * (stages - 1) + [outputs]

        def fuses(count: int) -> nn.ModuleList:
            return nn.ModuleList(Fuse(channels, norm) for _ in range(count))

        def encoders(count: int) -> nn.ModuleList:
            return nn.ModuleList(RegionContext(channels, regions, groups, pool) for _ in range(count - 1))

        self.lateral = nn.ModuleList(
            nn.Sequential(nn.Conv2d(c, channels, 1, bias=not norm), group_norm(channels, norm)) for c in in_channels
        )
        self.down = nn.ModuleList(Pathway(channels, levels, resize_to, combine, dense, norm) for _ in range(stages))
        self.encode_down = nn.ModuleList(encoders(levels) for _ in range(1 if share_rce else stages))
        self.fuse_down = nn.ModuleList(fuses(levels) for _ in range(stages - 1))
        self.result = fuses(outputs) if fusion and bottom_up else None
        self.outputs, self.bottom_up = outputs, bottom_up
        if bottom_up:
            self.up = nn.ModuleList(Pathway(channels, count, average_to, combine, dense, norm) for count in reach)
            self.encode_up = nn.ModuleList(encoders(count) for count in (reach[:1] if share_rce else reach))
            self.fuse_up = nn.ModuleList(fuses(count) for count in reach[1:])

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Maps [(B, in_channels[l], h_l, w_l)] -> the ``outputs`` finest fused ones, (B, C, h_l, w_l)."""
        down = [lateral(x) for lateral, x in zip(self.lateral, maps, strict=True)]
        up: list[Tensor] = []
        matrices = [RegionMatrices.of(x, self.regions) for x in down] if self.regions else [None] * len(down)

        def told(encoders: Iterable[nn.Module], sizes: Iterable[RegionMatrices | None]) -> list[Callable]:
            return [functools.partial(encode, matrices=own) for encode, own in zip(encoders, sizes)]

        for stage in range(self.stages):
            if stage:
                down = [fuse(d, u) for fuse, d, u in zip(self.fuse_down[stage - 1], down, up, strict=True)]
            shared = 0 if self.share_rce else stage
            down = self.down[stage](down[::-1], told(self.encode_down[shared], matrices[::-1]))[::-1]
            if not self.bottom_up:
                return down[: self.outputs]
            if stage:
                up = [fuse(d, u) for fuse, d, u in zip(self.fuse_up[stage - 1], down, up)]
            else:
                up = down if self.stages > 1 else down[: self.outputs]
            up = self.up[stage](up, told(self.encode_up[shared], matrices))
        return up if self.result is None else [fuse(d, u) for fuse, d, u in zip(self.result, down, up)]
