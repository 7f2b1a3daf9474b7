"""Heads of FCIS: fully convolutional instance-aware semantic segmentation (Li et al., CVPR 2017).

One set of position-sensitive scores tells class and mask of a region together, so that nothing but a sum is left to
compute for each. The engine around them, proposals and resizing, is torchvision's.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torchvision.models.detection._utils import BoxCoder
from torchvision.ops import clip_boxes_to_image
from torchvision.ops.poolers import LevelMapper

from ..utils.choices import check_choice
from .fcis_instances import choose_instances, resize_instances
from .fcis_losses import (
    RegionLosses,
    RegionTargets,
    hardest,
    match_regions,
    region_losses,
    sample_regions,
    total_losses,
)
from .position_sensitive import CellGrid, CellWeights, Pixels, Regions, flatten_maps

# Regions whose bins are in memory at once where no gradient is needed.
CHUNK = 16
VOTES = ("class", "best", "none")


class Prepared(NamedTuple):
    """What all regions of a batch are read from.

    Attributes:
        pixels: of the maps, width C.
        weight, bias: (cells^2, C, K) and (cells^2, 1, K): bins -> inside minus outside scores.
        mean_weight, mean_bias: (cells^2 C, K + 4) and (K + 4,): means of the cells -> means of the outside scores and
            of the offsets.
    """

    pixels: Pixels
    weight: Tensor
    bias: Tensor
    mean_weight: Tensor
    mean_bias: Tensor


class RegionScores(NamedTuple):
    """What the heads read in n regions.

    Attributes:
        logits: (n, K).
        offsets: (n, 4), from the region to the box of its object.
        insides: (cells^2, n r^2, K), the inside minus the outside score of each bin and class.
    """

    logits: Tensor
    offsets: Tensor
    insides: Tensor


class FCISRoIHeads(nn.Module):
    """Classes, masks and boxes of regions from position-sensitive scores, called as torchvision's RoIHeads.

    A region has bins x bins bins, and for each class c and bin an outside and an inside score, o_c and i_c; see
    :mod:`gatezoo.heads.position_sensitive`::

        logit of class c      mean over the bins of max(o_c, i_c)                       softmax over all classes
        mask of class c       exp(i_c) / (exp(o_c) + exp(i_c)) = sigmoid(i_c - o_c) at each bin
        box, of no class      mean over the cells of 4 offsets, (dx, dy) / 5 and (dw, dh) / 2 as in Faster R-CNN

    Since max(o_c, i_c) = o_c + relu(i_c - o_c), the bins need the differences i_c - o_c alone, which are linear
    functions too; the mean of o_c, and the offsets, are computed from the means of the cells. That is half the work.

    In evaluation the proposals are moved by their offsets, and proposals and moved boxes, each with its own scores, are
    the candidates (Sec. 3.2). For those that NMS within each class leaves, all vote on the masks at the image's own
    size: :func:`gatezoo.heads.mask_voting.vote`.

    Boxes are continuous; the authors' rounding and their boxes of a pixel more are left out. A region reads one map, by
    its size, as in FPN (Lin et al., CVPR 2017, eq. 1).

    Args:
        channels: C of the maps.
        num_classes: K, with the background, which is class 0.
        strides: of the maps, finest first, each twice the one before.
        width: channels of the ReLU layer between the maps and the scores.
        grid: cells and bins of a region.
        nms: IoU of two instances of a class above which the less certain is dropped; the authors' is .3.
        ohem: number of regions of each image that are trained, those with the largest losses; 0: 128 at random, at most
            a quarter of them with an object.
        vote: masks that vote on an instance's: "class", those of its class, as in the paper; "best", that of each
            candidate's most probable class, as in the authors' code; "none", each instance keeps its own.

    Attributes:
        score_thresh, detections_per_img: in evaluation, least score, and most instances of an image.
    """

    # A proposal is read where it is, and where its offsets move it.
    rounds = 2

    def __init__(
        self,
        channels: int,
        num_classes: int,
        strides: Sequence[int],
        width: int,
        grid: CellGrid,
        nms: float = 0.3,
        ohem: int = 128,
        vote: str = "class",
    ):
        super().__init__()
        check_choice("vote", vote, VOTES)
        self.grid = grid
        self.strides, self.nms, self.ohem, self.vote = tuple(strides), nms, ohem, vote
        self.mix = nn.Linear(channels, width)
        nn.init.normal_(self.mix.weight, std=0.01)
        nn.init.zeros_(self.mix.bias)
        self.score = CellWeights(width, 2 * num_classes, grid.cells)
        self.box = CellWeights(width, 4, grid.cells)
        self.coder = BoxCoder((5.0, 5.0, 2.0, 2.0))
        self.score_thresh, self.detections_per_img = 0.001, 100

    def forward(
        self,
        maps: dict[str, Tensor],
        proposals: list[Tensor],
        image_sizes: list[tuple[int, int]],
        targets: list[dict[str, Tensor]] | None = None,
    ) -> tuple[list[dict[str, Any]], dict[str, Tensor]]:
        """Find the instances in evaluation, or compute the losses in training.

        Args:
            maps: (B, C, h_l, w_l), finest first; those after the last stride are not read.
            proposals: boxes (n, 4) of each image.
            image_sizes: (H, W) of each image within the batch.
            targets: in training boxes, labels and masks of each image.

        Returns:
            For each image boxes (N, 4), labels (N,), scores (N,), masks (N, 1, m, m) and what :meth:`at_image_size`
            needs, none in training; and the losses loss_classifier, loss_box_reg and loss_mask, none in evaluation.
        """
        read = list(maps.values())[: len(self.strides)]
        prepared = self._prepare(read, [1 / stride for stride in self.strides])
        if self.training:
            assert targets is not None
            return [], self._losses(prepared, proposals, targets)
        return self._find(prepared, proposals, image_sizes), {}

    def _prepare(self, maps: Sequence[Tensor], scales: Sequence[float]) -> Prepared:
        pixels = flatten_maps(maps, scales)
        outside, inside = self.score.weight.chunk(2, 2)
        outside_bias, inside_bias = self.score.bias.chunk(2, 1)
        return Prepared(
            pixels._replace(values=self.mix(pixels.values).relu()),
            inside - outside,
            (inside_bias - outside_bias)[:, None],
            torch.cat([outside, self.box.weight], 2).flatten(0, 1) / self.grid.cells**2,
            torch.cat([outside_bias, self.box.bias], 1).mean(0),
        )

    def _regions(self, boxes: Sequence[Tensor]) -> Regions:
        """Return the boxes of the images as regions, each with the map that it reads."""
        first, last = (int(math.log2(stride)) for stride in (self.strides[0], self.strides[-1]))
        images = [torch.full((len(own),), image, device=own.device) for image, own in enumerate(boxes)]
        return Regions(torch.cat(list(boxes)), torch.cat(images), LevelMapper(first, last)(list(boxes)))

    def _read(self, prepared: Prepared, regions: Regions) -> RegionScores:
        bins = self.grid.pool(prepared.pixels, regions)
        insides = torch.baddbmm(prepared.bias, bins, prepared.weight)
        cells = self.grid.per_region(bins).mean(2).transpose(0, 1).flatten(1)
        means = torch.addmm(prepared.mean_bias, cells, prepared.mean_weight)
        outside, offsets = means[:, :-4], means[:, -4:]
        # Two sums: torch is slow at one over two dimensions that are apart.
        excess = self.grid.per_region(insides.relu().sum(0, keepdim=True)).sum(2)[0] / self.grid.bins**2
        return RegionScores(outside + excess, offsets, insides)

    # Training

    def _losses(
        self, prepared: Prepared, proposals: Sequence[Tensor], targets: Sequence[dict[str, Tensor]]
    ) -> dict[str, Tensor]:
        """Choose the regions to train without a gradient, then compute their losses with it."""
        boxes = [torch.cat([own, target["boxes"].to(own)]) for own, target in zip(proposals, targets)]
        matched = [
            match_regions(own, target, self.coder, self.grid.bins) for own, target in zip(boxes, targets, strict=True)
        ]
        if self.ohem:
            sizes = [len(own) for own in boxes]
            ranked = zip(*(part.split(sizes) for part in self._ranking(prepared, boxes, _concat(matched))))
            chosen = [hardest(RegionLosses(*own), self.ohem) for own in ranked]
        else:
            chosen = [sample_regions(own.labels) for own in matched]
        regions = self._regions([own[kept] for own, kept in zip(boxes, chosen)])
        kept_targets = _concat([own.select(kept) for own, kept in zip(matched, chosen)])
        return total_losses(self._region_losses(prepared, regions, kept_targets))

    @torch.no_grad()
    def _ranking(self, prepared: Prepared, boxes: Sequence[Tensor], targets: RegionTargets) -> RegionLosses:
        """Compute the losses of all regions, a few at a time."""
        regions = self._regions(boxes)
        parts = [
            self._region_losses(prepared, Regions(*(x[chunk] for x in regions)), targets.select(chunk))
            for chunk in _chunks(regions.boxes)
        ]
        return RegionLosses(*(torch.cat(part) for part in zip(*parts)))

    def _region_losses(self, prepared: Prepared, regions: Regions, targets: RegionTargets) -> RegionLosses:
        scores = self._read(prepared, regions)
        r2 = (self.grid.bins // self.grid.cells) ** 2
        of_class = targets.labels.repeat_interleave(r2).expand(len(scores.insides), -1)[..., None]
        insides = self.grid.as_image(scores.insides.gather(2, of_class)).reshape(targets.masks.shape)
        return region_losses(scores.logits, scores.offsets, insides, targets)

    # Evaluation

    def _find(
        self, prepared: Prepared, proposals: Sequence[Tensor], image_sizes: Sequence[tuple[int, int]]
    ) -> list[dict[str, Any]]:
        sizes = [len(own) for own in proposals]
        first = self._evaluate(prepared, proposals)
        moved = self.coder.decode_single(first[1], torch.cat(list(proposals))).split(sizes)
        refined = [clip_boxes_to_image(own, size) for own, size in zip(moved, image_sizes)]
        second = self._evaluate(prepared, refined)
        found = []
        for image, rounds in enumerate(zip(proposals, refined)):
            scores, masks = (
                torch.cat([part.split(sizes)[image] for part in parts]) for parts in zip(first[::2], second[::2])
            )
            found.append(
                choose_instances(torch.cat(rounds), scores, masks, self.score_thresh, self.nms, self.detections_per_img)
            )
        return found

    def _evaluate(self, prepared: Prepared, boxes: Sequence[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Return probabilities (n, K), offsets (n, 4) and masks (n, K, m, m), computed for a few regions at a time."""
        regions, grid = self._regions(boxes), self.grid
        # Not from the number of classes at construction: a new classifier may replace the scores.
        count, r, classes = len(regions.boxes), grid.bins // grid.cells, prepared.bias.shape[2]
        probabilities = regions.boxes.new_empty(count, classes)
        offsets = torch.empty_like(regions.boxes)
        # Sixteen bits tell a mask well enough, and there is one for each class and candidate.
        masks = regions.boxes.new_empty((count, classes, grid.cells, r, grid.cells, r), dtype=torch.float16)
        for chunk in _chunks(regions.boxes):
            logits, offsets[chunk], insides = self._read(prepared, Regions(*(x[chunk] for x in regions)))
            probabilities[chunk] = logits.softmax(1)
            masks[chunk] = grid.as_image(insides.sigmoid().half())
        return probabilities, offsets, masks.view(count, classes, grid.bins, grid.bins)

    def at_image_size(self, instances: dict[str, Any], inner: Sequence[int], size: Sequence[int]) -> dict[str, Any]:
        """Return the instances of a resized image, of size ``inner``, at the original's ``size``, with voted masks."""
        return resize_instances(instances, inner, size, self.vote)

    def classifier(self) -> nn.Module:
        """Return the layer of the outside and inside scores."""
        return nn.ModuleList([self.score])

    def probe(self, maps: Sequence[Tensor], boxes: Tensor, masks: int) -> list[Tensor]:
        """Return the raw outputs for given boxes, without a choice that depends on values.

        Args:
            maps: of one image, finest first; the first is read.
            boxes: (N, 4), x1 y1 x2 y2 in its pixels.
            masks: number of the first boxes whose masks are computed.

        Returns:
            Logits (N, K), offsets (N, 4), and of ``masks`` boxes the inside minus the outside scores, (masks, K, bins).
        """
        none = torch.zeros_like(boxes[:, 0], dtype=torch.int64)
        scores = self._read(self._prepare(maps[:1], [1.0]), Regions(boxes, none, none))
        return [scores.logits, scores.offsets, self.grid.as_image(scores.insides)[:masks]]


def _concat(targets: Sequence[RegionTargets]) -> RegionTargets:
    return RegionTargets(*(torch.cat(part) for part in zip(*targets)))


def _chunks(boxes: Tensor) -> list[slice]:
    return [slice(start, start + CHUNK) for start in range(0, max(1, len(boxes)), CHUNK)]
