"""Position-sensitive scores of regions (Dai et al., R-FCN, NeurIPS 2016, Sec. 2; Li et al., FCIS, CVPR 2017, Sec. 2).

A region is cut into bins x bins bins and, coarser, into cells x cells cells. A bin reads the scores of its own cell:
those of cell g are the g-th of cells^2 linear functions of a map. Papers make maps of all scores and average them over
the bins. A linear function commutes with an average of pixels, so here the map itself is averaged, and the scores are
computed for the bins alone::

    p(bin) = mean over the bin of map        s(bin) = p(bin) A_g + b_g        g the cell of the bin

These are the same numbers, without a map of cells^2 times the number of scores.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Pixels(NamedTuple):
    """All pixels of one or more maps of a batch, as rows.

    Attributes:
        values: (R, C), map by map, image by image, row by row.
        first: (L,), number of the first pixel of each map.
        height, width: (L,), of each map.
        scale: (L,), pixels of the map per pixel of the image.
    """

    values: Tensor
    first: Tensor
    height: Tensor
    width: Tensor
    scale: Tensor


class Regions(NamedTuple):
    """Boxes in the images of a batch, with the map that each reads.

    Attributes:
        boxes: (n, 4), x1 y1 x2 y2 in pixels of the image.
        images: (n,), number of the image.
        levels: (n,), number of the map.
    """

    boxes: Tensor
    images: Tensor
    levels: Tensor


def flatten_maps(maps: Sequence[Tensor], scales: Sequence[float]) -> Pixels:
    """Return the pixels of maps (B, C, h_l, w_l), each with its number of pixels per pixel of the image, ``scales``."""
    channels, like = maps[0].shape[1], maps[0]

    def of_each(numbers: Sequence[int | float], dtype: torch.dtype) -> Tensor:
        # torch.tensor would fix the sizes of an exported network.
        return torch.cat([torch.full((1,), number, dtype=dtype, device=like.device) for number in numbers])

    counts = [x.shape[0] * x.shape[2] * x.shape[3] for x in maps]
    return Pixels(
        torch.cat([x.flatten(2).transpose(1, 2).reshape(-1, channels) for x in maps]),
        of_each([sum(counts[:level]) for level in range(len(maps))], torch.int64),
        of_each([x.shape[2] for x in maps], torch.int64),
        of_each([x.shape[3] for x in maps], torch.int64),
        of_each(scales, like.dtype),
    )


@dataclass(frozen=True)
class CellGrid:
    """How a region is cut: into ``bins`` x ``bins`` bins, of which ``cells`` x ``cells`` cells hold equally many.

    Tensors of bins are (cells^2, n r^2, C), r = bins / cells: cell by cell, row by row; within a cell region by region,
    the bins of each row by row.

    Raises:
        ValueError: cells that do not divide the bins.
    """

    cells: int
    bins: int

    def __post_init__(self) -> None:
        if self.cells < 1:
            raise ValueError(f"cells must be at least 1; got {self.cells}: the papers' is 7")
        if self.bins < 1 or self.bins % self.cells:
            nearest = self.cells * max(1, round(self.bins / self.cells))
            raise ValueError(
                f"bins must be a multiple of cells; got {self.bins} bins for {self.cells} cells: pass bins={nearest}"
            )

    def pool(self, pixels: Pixels, regions: Regions, sampling: int = 1) -> Tensor:
        """Average the pixels in each bin, by bilinear samples.

        Places outside of the map have the value at its border, so that the weights always sum to 1. Elsewhere it is
        RoIAlign (He et al., ICCV 2017, Sec. 3), torchvision's with ``aligned=True``.

        Args:
            pixels: of the maps.
            regions: to pool.
            sampling: s, samples of a bin are s x s.

        Returns:
            (cells^2, n r^2, C).
        """
        r, levels = self.bins // self.cells, regions.levels
        height, width = pixels.height[levels], pixels.width[levels]
        # The center of a pixel has a whole number.
        left, top, right, bottom = (regions.boxes * pixels.scale[levels][:, None] - 0.5).unbind(1)
        rows, row_shares = self._samples(top, bottom, height, sampling)
        columns, column_shares = self._samples(left, right, width, sampling)
        start = (pixels.first[levels] + regions.images * height * width).view(-1, 1, 1)
        rows = start + rows * width.view(-1, 1, 1)

        def pairs(of_rows: Tensor, of_columns: Tensor) -> tuple[Tensor, Tensor]:
            """Split bins into cells, so that rows and columns have the shape of all pairs of them."""
            y = of_rows.view(-1, self.cells, r, 2 * sampling).permute(1, 0, 2, 3)
            x = of_columns.view(-1, self.cells, r, 2 * sampling).permute(1, 0, 2, 3)
            return y[:, None, :, :, None, :, None], x[None, :, :, None, :, None, :]

        row, column = pairs(rows, columns)
        row_share, column_share = pairs(row_shares, column_shares)
        taps = 4 * sampling**2
        pooled = F.embedding_bag(
            (row + column).reshape(-1, taps),
            pixels.values,
            per_sample_weights=(row_share * column_share).reshape(-1, taps),
            mode="sum",
        )
        return pooled.view(self.cells**2, len(regions.boxes) * r**2, pooled.shape[1])

    def _samples(self, low: Tensor, high: Tensor, size: Tensor, sampling: int) -> tuple[Tensor, Tensor]:
        """Return the pixels that each bin reads along one axis, and their shares, both (n, bins, 2 sampling)."""
        count = self.bins * sampling
        places = (torch.arange(count, dtype=low.dtype, device=low.device) + 0.5) / count
        last = (size - 1)[:, None]
        at = torch.minimum((low[:, None] + places * (high - low)[:, None]).clamp(min=0), last.to(low.dtype))
        below = at.floor()
        share = (at - below) / sampling
        below = below.to(torch.int64)
        pixels = torch.stack([below, torch.minimum(below + 1, last)], -1)
        shares = torch.stack([1 / sampling - share, share], -1)
        return pixels.view(-1, self.bins, 2 * sampling), shares.view(-1, self.bins, 2 * sampling)

    def per_region(self, values: Tensor) -> Tensor:
        """Return values of bins (cells^2, n r^2, C) as a view (cells^2, n, r^2, C)."""
        r2 = (self.bins // self.cells) ** 2
        return values.view(len(values), values.shape[1] // r2, r2, values.shape[2])

    def as_image(self, values: Tensor) -> Tensor:
        """Return values of bins (cells^2, n r^2, C) where they lie, as a view (n, C, cells, r, cells, r)."""
        k, r = self.cells, self.bins // self.cells
        return values.view(k, k, values.shape[1] // r**2, r, r, values.shape[2]).permute(2, 5, 0, 3, 1, 4)


class CellWeights(nn.Module):
    """Weights of a linear layer for each cell, s = p A_g + b_g; who holds them decides how to compute it.

    Attributes:
        weight: A, (cells^2, in_channels, outputs), normally distributed with a standard deviation of .01.
        bias: b, (cells^2, outputs), 0.

    Args:
        in_channels: C of the pooled map.
        outputs: scores of a bin.
        cells: on each side of a region.
    """

    def __init__(self, in_channels: int, outputs: int, cells: int):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(cells**2, in_channels, outputs))
        self.bias = nn.Parameter(torch.zeros(cells**2, outputs))
        nn.init.normal_(self.weight, std=0.01)
