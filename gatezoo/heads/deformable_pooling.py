"""Deformable RoI pooling (Dai et al., "Deformable convolutional networks", ICCV 2017, Sec. 2.2)."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.ops.poolers import LevelMapper

from .mask_rcnn import BOX_SIDE, MAP_NAMES

STRIDES = (4, 8, 16, 32)
# Samples of a bin along each axis, as of the RoIAlign that this pool stands for.
SAMPLES = 2
# Offsets of a bin are in units of a tenth of the region's sides (Sec. 2.2).
GAMMA = 0.1
# The layers that predict offsets learn at a hundredth of the rate in the authors' code. For SGD it is the same to scale
# what they predict by a tenth, which scales step and effect of the step.
GAIN = 0.1
HIDDEN = 1024


class DeformableRoIPool(nn.Module):
    """Pooling of regions whose 7 x 7 bins move by offsets that are predicted from the region.

    A region of width w and height h on its map is pooled twice. The first time its bins are those of RoIAlign, without
    the half pixel of its later version, each the mean of 2 x 2 samples. A linear layer of its map reads the result; bin
    (i, j) is then the mean of the same samples moved by delta_ij::

        delta_ij = .1 * .1 * (w o_ij^x, h o_ij^y),  o = FC_l(first pooling),  w, h at least 1

    The second .1 stands for the layer's learning rate, a hundredth of the others' in the authors' code; under SGD it is
    the same. A sample is bilinear; outside the map it reads the border, where authors leave such samples out. They take
    4 x 4 samples a bin. Offsets begin as zero: the pool is then RoIAlign of boxes that lie in the image.

    A region reads the one map that :class:`gatezoo.heads.mask_rcnn.MaskRoIHeads` describes, and each map has a linear
    layer of its own. Mask heads need bins where they are and keep RoIAlign.

    Args:
        channels: C of the maps.
        offset_layers: linear layers from a region to its offsets: 1, or more with 1024 channels and ReLU between, 3 in
            MMDetection.

    Raises:
        ValueError: fewer than one layer.
    """

    def __init__(self, channels: int, offset_layers: int = 1):
        super().__init__()
        if offset_layers < 1:
            raise ValueError(f"offset_layers must be at least 1; got {offset_layers}")
        self.offsets = nn.ModuleList(_make_offsets(channels, offset_layers) for _ in STRIDES)
        self.map_levels = LevelMapper(2, 5)

    def forward(
        self, maps: Mapping[str, Tensor], boxes: list[Tensor], image_sizes: Sequence[tuple[int, int]]
    ) -> Tensor:
        """Pool the regions of a batch.

        Args:
            maps: (B, C, H / stride, W / stride) of strides 4 8 16 32, by their names in Mask R-CNN.
            boxes: of each image (N, 4), x1 y1 x2 y2 in pixels of the batch.
            image_sizes: as torchvision calls a pool; not read.

        Returns:
            (sum of N, C, 7, 7), in the order of the boxes.
        """
        levels = self.map_levels(boxes)
        image = torch.cat([torch.full_like(own[:, 0], index, dtype=torch.int64) for index, own in enumerate(boxes)])
        every, pooled, order = torch.cat(boxes), [], []
        for level, name in enumerate(MAP_NAMES[: len(STRIDES)]):
            # A map without a region too, so that its layer gets a gradient, of zero.
            chosen = torch.where(levels == level)[0]
            pooled.append(self._pool(level, maps[name], every[chosen], image[chosen]))
            order.append(chosen)
        return torch.cat(pooled)[torch.cat(order).argsort()]

    def probe(self, maps: Sequence[Tensor], boxes: Tensor) -> Tensor:
        """Pool regions without a choice that depends on values: the first quarter reads the coarsest map, and so on.

        Args:
            maps: of one image, finest first; the first four are read.
            boxes: (N, 4), x1 y1 x2 y2 in pixels of the first map.

        Returns:
            (N, C, 7, 7).
        """
        parts = (boxes * STRIDES[0]).tensor_split(len(STRIDES))
        image = [torch.zeros_like(part[:, 0], dtype=torch.int64) for part in parts]
        levels = reversed(range(len(STRIDES)))
        return torch.cat([self._pool(level, maps[level], *part) for level, *part in zip(levels, parts, image)])

    def _pool(self, level: int, x: Tensor, boxes: Tensor, image: Tensor) -> Tensor:
        """Pool regions (N, 4) of the images (N,) from the map of one level: (N, C, 7, 7)."""
        low = boxes[:, :2] / STRIDES[level]
        size = ((boxes[:, 2:] - boxes[:, :2]) / STRIDES[level]).clamp(min=1)
        unmoved = x.new_zeros(len(boxes), 2, BOX_SIDE, BOX_SIDE)
        # A pixel's channels in a row: what a sample reads is then contiguous.
        pixels = x.contiguous(memory_format=torch.channels_last)
        offsets = self.offsets[level](_sample(pixels, image, low, size, unmoved).flatten(1)).view_as(unmoved)
        return _sample(pixels, image, low, size, GAMMA * GAIN * offsets * size[:, :, None, None])


def _make_offsets(channels: int, layers: int) -> nn.Sequential:
    widths = [channels * BOX_SIDE**2, *[HIDDEN] * (layers - 1)]
    hidden = [module for pair in itertools.pairwise(widths) for module in (nn.Linear(*pair), nn.ReLU(inplace=True))]
    last = nn.Linear(widths[-1], 2 * BOX_SIDE**2)
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)
    return nn.Sequential(*hidden, last)


def _sample(x: Tensor, image: Tensor, low: Tensor, size: Tensor, shift: Tensor) -> Tensor:
    """Return the means of the samples of each bin.

    A bin reads 4 x 4 pixels, with weights that are products of those of rows and columns. An embedding bag sums them
    without a tensor of samples, and on a CPU in a tenth of the time of :func:`torch.nn.functional.grid_sample`.

    Args:
        x: (B, C, H, W), channels last.
        image: (N,), the image of each region.
        low, size: (N, 2), its upper left corner and its sides, x and y, in pixels of the map.
        shift: (N, 2, 7, 7), what each bin is moved by.
    """
    channels, height, width = x.shape[1:]
    count = SAMPLES * BOX_SIDE
    places = (torch.arange(count, device=x.device, dtype=x.dtype).view(BOX_SIDE, SAMPLES) + 0.5) / count
    at = low[:, :, None, None] + size[:, :, None, None] * places  # (N, 2, 7, 2), of each bin of a row or column
    columns, of_columns = _neighbors(at[:, 0, None] + shift[:, 0, :, :, None], width)
    rows, of_rows = _neighbors(at[:, 1, :, None] + shift[:, 1, :, :, None], height)
    first = (image * height)[:, None, None, None]
    pixels = (first + rows)[..., None] * width + columns[..., None, :]
    weights = of_rows[..., None] * of_columns[..., None, :] / SAMPLES**2
    read = 4 * SAMPLES**2
    table = x.permute(0, 2, 3, 1).reshape(-1, channels)
    means = F.embedding_bag(pixels.view(-1, read), table, mode="sum", per_sample_weights=weights.view(-1, read))
    return means.view(-1, BOX_SIDE**2, channels).transpose(1, 2).unflatten(2, (BOX_SIDE, BOX_SIDE))


def _neighbors(at: Tensor, length: int) -> tuple[Tensor, Tensor]:
    """Return the pixels before and after places along an axis, and their weights: (..., s) -> (..., 2 s) each."""
    at = at.clamp(0, length - 1)
    before = at.detach().floor()
    after = at - before
    return torch.cat([before, (before + 1).clamp(max=length - 1)], -1).long(), torch.cat([1 - after, after], -1)
