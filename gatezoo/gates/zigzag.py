"""Alternating top-down and bottom-up pathways that multiply their contexts (ZigZagNet, Sec. 3, eqs. 1 to 4)."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from ..layers.grid_pool import average_to
from ..layers.resize import resize_to
from ..utils.choices import check_choice
from .region_context import RegionContext, RegionMatrices

COMBINE: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"product": torch.mul, "sum": torch.add}

# Maps that a ZigZag can return.
RESULTS = ("fused", "bottom_up", "top_down")


def group_norm(channels: int, norm: bool, scale: float = 1.0) -> nn.Module:
    """Return a group norm with about eight channels per group (Wu and He, ECCV 2018: 32 groups of 256).

    With one channel per group it would be instance norm, which removes the strength of each channel. Batch norm would
    have no effect on random weights in evaluation mode.

    Args:
        channels: number of channels.
        norm: False for the identity.
        scale: initial weight of the norm.
    """
    if not norm:
        return nn.Identity()
    layer = nn.GroupNorm(math.gcd(max(1, channels // 8), channels), channels)
    nn.init.constant_(layer.weight, scale)
    return layer


class Fuse(nn.Sequential):
    """Fusion of two maps a, b from their sum, relu(W * (a + b)): W a 3x3 convolution, with a norm before the ReLU."""

    def __init__(self, channels: int, norm: bool = True):
        super().__init__(
            nn.Conv2d(channels, channels, 3, padding=1, bias=not norm),
            group_norm(channels, norm),
            nn.ReLU(inplace=True),
        )


class FuseLevels(nn.ModuleList):
    """One :class:`Fuse` per level: two lists of maps [(B, C, h_k, w_k)] -> one, as long as the shortest of all."""

    def forward(self, first: Sequence[Tensor], second: Sequence[Tensor]) -> list[Tensor]:
        return [fuse(a + b) for fuse, a, b in zip(self, first, second)]


class Pathway(nn.Module):
    """Pathway through the levels in which each map receives the context of all maps before it.

    Maps P_k (B, C, h_k, w_k), in the order of the pathway, become as many maps F_k of the same sizes::

        F_k = P_k + norm(prod over s < k of resize(R_s)),   R_s = RCE_s(F_s)       an empty product is 0

    R_s is computed once, and resized once for each target: a product of resized maps is not the resized product, so
    no two targets share a part of it.

    Args:
        channels: C.
        levels: number of maps.
        resize: (map, size) -> map of that size.
        combine: "product", or "sum" (the SCF of Table 2).
        dense: receive the context of all maps before; else only of the previous one.
        norm: normalize the product.
    """

    def __init__(
        self,
        channels: int,
        levels: int,
        resize: Callable[[Tensor, Sequence[int]], Tensor],
        combine: str = "product",
        dense: bool = True,
        norm: bool = True,
    ):
        super().__init__()
        self.resize, self.combine, self.dense = resize, COMBINE[check_choice("combine", combine, COMBINE)], dense
        # Products of untrained maps are noise, added by each of 2 T pathways: start with a tenth of them.
        self.norms = nn.ModuleList(group_norm(channels, norm, scale=0.1) for _ in range(levels - 1))

    def forward(self, maps: Sequence[Tensor], encode: Sequence[Callable[[Tensor], Tensor]]) -> list[Tensor]:
        """Return the maps with context.

        Args:
            maps: in the order of the pathway.
            encode: the RCE of each map but the last.
        """
        outputs = [maps[0]]
        encoded: list[Tensor] = []
        for x, norm, rce in zip(maps[1:], self.norms, encode):
            encoded.append(rce(outputs[-1]))
            contexts = [self.resize(y, x.shape[-2:]) for y in (encoded if self.dense else encoded[-1:])]
            outputs.append(x + norm(functools.reduce(self.combine, contexts)))
        return outputs


def _bind(encoders: nn.Module, matrices: Sequence[RegionMatrices | None]) -> list[Callable[[Tensor], Tensor]]:
    """Return each encoder of a list as a function of a map alone, with the region matrices of the map's size."""
    assert isinstance(encoders, nn.ModuleList)
    return [
        encode if of_size is None else functools.partial(encode, matrices=of_size)
        for encode, of_size in zip(encoders, matrices)
    ]


class ZigZag(nn.Module):
    """Fusion of a backbone's maps, finest first, to maps of C channels each and of the same sizes.

    ::

        P_d = lateral(B) in stage 0, then relu(W_d * (F_d + F_u))           F_d = top-down pathway of P_d, i = L .. 1
        P_u = F_d        in stage 0, then relu(W_u * (F_d + F_u))           F_u = bottom-up pathway of P_u, j = 1 .. L
        result: relu(W_d * (F_d + F_u)) after the last of T stages

    where W_u reads the new F_d and the F_u of the previous stage. Context is resized bilinearly upwards and averaged
    downwards. Where the text is at odds with itself:

    - Sec. 3 and 5 take {P_d} of stage T + 1 as the result, but the semantic network of Sec. 5 reads P_u of that stage.
      By eq. 4 it would need the F_d of a further pathway, so that P_d is the result for both tasks.
    - The abstract feeds "the fused feature maps" to the next stage, eqs. 2 and 4 the outputs F_d and F_u of the
      pathways: these, fused by the next stage. In eq. 4, F_d is the new one.
    - The product of no context is 0, not 1: the coarsest F_d is P_d.

    The norms of the laterals, of every product and before every ReLU are not in the paper: exactly as
    published (``norm=False``), values exceed the range of float32 within few stages from random weights. The weights
    of the products' norms are initialized to a tenth.

    Args:
        in_channels: channels of the maps.
        channels: C.
        stages: T; 1 is no exchange (Table 1).
        outputs: number of the finest maps to return; all by default. Parts of the last stage that only the other maps
            need are omitted.
        encoder: from the number of a level, 0 the finest, to a new encoding of its map with context, (B, C, h, w) ->
            (B, C, h, w); by default :class:`RegionContext`. Table 2 has others in its place.
        share_rce: share one encoding per map and pathway among all stages; else use one per stage.
        combine, dense: of :class:`Pathway`.
        result: "fused", or of the only stage (Table 1) "bottom_up", F_u, or "top_down", F_d: an encoder and a decoder.
        norm: see above.

    Raises:
        ValueError: fewer than one stage, or several without both pathways and fusion; outputs that are not 1 .. L.
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        channels: int = 128,
        stages: int = 3,
        outputs: int | None = None,
        encoder: Callable[[int], nn.Module] | None = None,
        share_rce: bool = False,
        combine: str = "product",
        dense: bool = True,
        result: str = "fused",
        norm: bool = True,
    ):
        super().__init__()
        levels = len(in_channels)
        outputs = levels if outputs is None else outputs
        if not isinstance(stages, int) or isinstance(stages, bool) or stages < 1:
            raise ValueError(f"stages must be a whole number, at least 1; got {stages!r}: pass stages=1")
        check_choice("result", result, RESULTS)
        if stages > 1 and result != "fused":
            raise ValueError(f"stages of an exchange need fusion and bottom_up; got {stages} without: set stages=1")
        if not 1 <= outputs <= levels:
            raise ValueError(f"outputs must be 1 .. {levels} of the maps; got {outputs}: pass one of them")
        self.stages, self.share_rce = stages, share_rce
        # Number of levels of the bottom-up pathway of each stage: the last one stops at the outputs.
        self.reach = [levels] * (stages - 1) + [outputs]

        def fuses(count: int) -> FuseLevels:
            return FuseLevels(Fuse(channels, norm) for _ in range(count))

        make_encoder = encoder or (lambda level: RegionContext(channels))

        def encoders(order: Sequence[int]) -> nn.ModuleList:
            """Return the encodings of a pathway's maps but the last, from its levels in its order."""
            return nn.ModuleList(make_encoder(level) for level in order[:-1])

        self.lateral = nn.ModuleList(
            nn.Sequential(nn.Conv2d(c, channels, 1, bias=not norm), group_norm(channels, norm)) for c in in_channels
        )
        self.down = nn.ModuleList(Pathway(channels, levels, resize_to, combine, dense, norm) for _ in range(stages))
        self.encode_down = nn.ModuleList(encoders(range(levels)[::-1]) for _ in range(1 if share_rce else stages))
        self.regions = next((m.regions for m in self.encode_down.modules() if isinstance(m, RegionContext)), ())
        self.fuse_down = nn.ModuleList(fuses(levels) for _ in range(stages - 1))
        self.result = fuses(outputs) if result == "fused" else None
        self.outputs, self.bottom_up = outputs, result != "top_down"
        if self.bottom_up:
            self.up = nn.ModuleList(Pathway(channels, count, average_to, combine, dense, norm) for count in self.reach)
            self.encode_up = nn.ModuleList(
                encoders(range(count)) for count in (self.reach[:1] if share_rce else self.reach)
            )
            self.fuse_up = nn.ModuleList(fuses(count) for count in self.reach[1:])

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Return the ``outputs`` finest fused maps (B, C, h_l, w_l) of maps [(B, in_channels[l], h_l, w_l)]."""
        down = [lateral(x) for lateral, x in zip(self.lateral, maps, strict=True)]
        up: list[Tensor] = []
        # All region context encodings of a level share its matrices.
        matrices = [RegionMatrices.of(x, self.regions) if self.regions else None for x in down]
        for stage in range(self.stages):
            if stage:
                down = self.fuse_down[stage - 1](down, up)
            shared = 0 if self.share_rce else stage
            down = self.down[stage](down[::-1], _bind(self.encode_down[shared], matrices[::-1]))[::-1]
            if not self.bottom_up:
                return down[: self.outputs]
            start = self.fuse_up[stage - 1](down, up) if stage else down[: self.reach[0]]
            up = self.up[stage](start, _bind(self.encode_up[shared], matrices))
        return up if self.result is None else self.result(down, up)
