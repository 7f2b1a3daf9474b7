"""Inference modes: whole images, several scales with flips, or sliding windows.

A mode is called as ``mode(forward, batch)``, where ``forward`` maps a normalized batch (B, C, H, W) to logits
(B, K, H, W): a network of the zoo, or ``functools.partial(model, iterations=3)``. Modes nest:
``MultiScale(scales, inner=SlidingWindow(512))`` is the usual protocol for Cityscapes: every scaled image is cut into
windows. ``SlidingWindow(512, inner=MultiScale(scales))`` scales every window, and needs the memory of one window.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ..layers.resize import resize_to
from ..utils.images import MIN_SIZE
from ..utils.keyword_types import check_keyword

Forward = Callable[[Tensor], Tensor]


class InferenceMode(ABC):
    """Base class of the ways to run a network over images of any size.

    A subclass implements ``__call__``, which returns logits, and may override :meth:`classes` to save memory. Modes are
    frozen dataclasses: they compare by value, and ``str(mode)`` describes them in reports.
    """

    @abstractmethod
    def __call__(self, forward: Forward, batch: Tensor) -> Tensor:
        """Return the logits (B, K, H, W) of a normalized batch (B, C, H, W).

        Args:
            forward: maps a normalized batch to logits: a network, or a partial of one.
            batch: images of one size.

        Returns:
            Logits whose softmax is the probability of each class.
        """

    def classes(self, forward: Forward, batch: Tensor) -> Tensor:
        """Return the label map (B, H, W), uint8, or int32 for more than 256 classes; arguments as of a call."""
        return classes_of_logits(self(forward, batch))


def classes_of_logits(logits: Tensor) -> Tensor:
    """Return the label map (B, H, W), uint8, or int32 for more than 256 classes, of logits (B, K, H, W)."""
    # The index that max returns is that of argmax, which takes longer on a CPU.
    return logits.max(1).indices.to(torch.uint8 if logits.shape[1] <= 256 else torch.int32)


@dataclass(frozen=True)
class WholeImage(InferenceMode):
    """One run over the whole image at its own size."""

    def __call__(self, forward: Forward, batch: Tensor) -> Tensor:
        """Return ``forward(batch)``."""
        return forward(batch)

    def __str__(self) -> str:
        return "whole images"


@dataclass(frozen=True)
class MultiScale(InferenceMode):
    """Average of the probabilities over scaled copies of the image, and over their mirror images.

    With S scales, x_s the image resized by s (bilinear, antialiased) and up() back to the original size (bilinear)::

        logits = log 1/S sum_s up(p(x_s)),        p(x) = softmax(inner(x))
        with flip:  p(x) = (softmax(inner(x)) + mirror(softmax(inner(mirror(x))))) / 2

    One scale of 1 without flip is ``inner`` itself, bit for bit. No scaled side falls below 32 pixels, the minimum of
    all networks. Published scales: DIGNet .5 .75 1 1.25 1.5 with flips, GFF .75 1 1.25 1.5 1.75.

    Attributes:
        scales: factors of the image size.
        flip: also average over horizontally mirrored copies.
        inner: mode that runs each copy.

    Raises:
        ValueError: there is no scale, or one is not positive.
    """

    scales: Sequence[float] = (0.5, 0.75, 1.0, 1.25, 1.5, 1.75)
    flip: bool = True
    inner: InferenceMode = WholeImage()

    def __post_init__(self):
        given = list(self.scales) if isinstance(self.scales, tuple) else self.scales
        numbers = given if isinstance(given, list) else []
        if not numbers or not all(isinstance(scale, int | float) and 0 < scale < math.inf for scale in numbers):
            raise ValueError(f"scales must be positive numbers, at least one; got {given}: pass 0.5,1,1.5")

    @torch.no_grad()
    def __call__(self, forward: Forward, batch: Tensor) -> Tensor:
        """Return the logarithm of the averaged probabilities."""
        if tuple(self.scales) == (1,) and not self.flip:
            return self.inner(forward, batch)
        height, width = batch.shape[-2:]
        total: Tensor | None = None
        for scale in self.scales:
            images = scaled(batch, scale)
            probabilities = softmax_of(self.inner(forward, images))
            if self.flip:
                probabilities += softmax_of(self.inner(forward, images.flip(-1))).flip(-1)
            probabilities = resize_to(probabilities, (height, width))
            total = probabilities if total is None else total.add_(probabilities)
        assert total is not None
        tiny = torch.finfo(total.dtype).tiny  # a probability that underflowed to 0 has no finite logarithm
        return total.div_(len(self.scales) * (1 + self.flip)).clamp_(min=tiny).log_()

    def __str__(self) -> str:
        scales = "scale" + ("s " if len(self.scales) > 1 else " ") + ", ".join(f"{scale:g}" for scale in self.scales)
        return f"{scales}{' with flips' if self.flip else ''}, {self.inner}"


def scaled(batch: Tensor, scale: float) -> Tensor:
    """Resize images by a factor, antialiased, with no side shorter than the minimum of all networks."""
    size = [max(min(side, MIN_SIZE), round(side * scale)) for side in batch.shape[-2:]]
    if size == list(batch.shape[-2:]):
        return batch
    return F.interpolate(batch, size=size, mode="bilinear", align_corners=False, antialias=True)


def softmax_of(logits: Tensor) -> Tensor:
    """Return the probabilities of the classes, at least in float32."""
    return logits.softmax(1, dtype=torch.promote_types(logits.dtype, torch.float32))


@dataclass(frozen=True)
class SlidingWindow(InferenceMode):
    """Overlapping windows, averaged with weights that fall off towards the edges of a window.

    Over all windows w::

        logits(y, x) = sum_w a_w(y) b_w(x) inner(window w)(y, x)

    a_w and b_w are triangles over the window's rows and columns, positive at every pixel, divided by their sum over
    all windows: see :func:`window_weights`. Only the rows that are covered by further windows are kept in memory, so
    :meth:`classes` needs B x K x window x W numbers in addition to the image, independent of its height. An image that
    is not larger than the window is run as a whole; a window is never longer than a side of the image.

    Attributes:
        window: side of a square window in pixels, or (height, width).
        overlap: minimum share of its side that a window has in common with the next; at least 0, below 1.
        inner: mode that runs each window.

    Raises:
        ValueError: a window is not larger than 32 pixels, the minimum of all networks, or overlap is out of range.
    """

    window: int | tuple[int, int] = 512
    overlap: float = 0.5
    inner: InferenceMode = WholeImage()

    def __post_init__(self):
        sides = self.window if isinstance(self.window, tuple) else (self.window, self.window)
        if len(sides) != 2 or not all(isinstance(side, int) and side > MIN_SIZE for side in sides):
            raise ValueError(
                f"a window must be a whole number of pixels larger than {MIN_SIZE}; got {self.window}: 512 is usual"
            )
        check_keyword("overlap", self.overlap, float)
        if not 0 <= self.overlap < 1:
            raise ValueError(
                f"overlap must be a share of the window, from 0 and below 1; got {self.overlap}: 0.5 is usual"
            )

    def _sides(self) -> tuple[int, int]:
        if isinstance(self.window, int):
            return self.window, self.window
        height, width = self.window
        return height, width

    def _fits(self, batch: Tensor) -> bool:
        return all(side <= window for side, window in zip(batch.shape[-2:], self._sides()))

    @torch.no_grad()
    def __call__(self, forward: Forward, batch: Tensor) -> Tensor:
        """Return the averaged logits of the whole image."""
        if self._fits(batch):
            return self.inner(forward, batch)
        logits: Tensor | None = None
        for top, band in self._bands(forward, batch):
            if logits is None:
                logits = band.new_empty(*band.shape[:2], *batch.shape[-2:])
            logits[:, :, top : top + band.shape[2]] = band
        assert logits is not None
        return logits

    @torch.no_grad()
    def classes(self, forward: Forward, batch: Tensor) -> Tensor:
        """Return the label map, computed band by band: the logits of the whole image are never in memory."""
        if self._fits(batch):
            return self.inner.classes(forward, batch)
        return torch.cat([classes_of_logits(band) for _, band in self._bands(forward, batch)], dim=1)

    def _bands(self, forward: Forward, batch: Tensor) -> Iterator[tuple[int, Tensor]]:
        """Yield (top, logits (B, K, h, W)) of rows that no further window covers; each is valid until the next one."""
        height, width = batch.shape[-2:]
        tall, wide = (min(side, window) for side, window in zip((height, width), self._sides()))
        rows, columns = (window_weights(side, part, self.overlap) for side, part in ((height, tall), (width, wide)))
        next_tops = [*(top for top, _ in rows[1:]), height]
        sums: Tensor | None = None
        for (top, row_weights), next_top in zip(rows, next_tops, strict=True):
            for left, column_weights in columns:
                logits = self.inner(forward, batch[..., top : top + tall, left : left + wide])
                if sums is None:
                    dtype = torch.promote_types(logits.dtype, torch.float32)
                    sums = logits.new_zeros(*logits.shape[:2], tall, width, dtype=dtype)
                weights = (row_weights[:, None] * column_weights).to(sums)
                sums[..., left : left + wide].addcmul_(logits, weights)
            assert sums is not None
            done = next_top - top
            yield top, sums[:, :, :done]
            pending = sums[:, :, done:].clone()
            sums[:, :, : tall - done] = pending
            sums[:, :, tall - done :] = 0

    def __str__(self) -> str:
        height, width = self._sides()
        return f"windows of {height}x{width} that overlap by {self.overlap:.0%}"


def window_weights(length: int, window: int, overlap: float) -> list[tuple[int, Tensor]]:
    """Return the windows along a side: (start, weights (window,)) of each, evenly spread from end to end.

    Weights are triangles, 1 at a window's first and last pixel and rising by 1 per pixel, divided by their sum over all
    windows: positive, and 1 in sum at every pixel.

    Args:
        length: of the side, in pixels.
        window: length of a window.
        overlap: minimum share of a window that it has in common with its neighbor.
    """
    stride = max(1, round(window * (1 - overlap)))
    steps = math.ceil((length - window) / stride)
    starts = [round(step * (length - window) / max(1, steps)) for step in range(steps + 1)]
    ramp = torch.arange(1, window + 1, dtype=torch.float64)
    triangle = torch.minimum(ramp, ramp.flip(0))
    total = torch.zeros(length, dtype=torch.float64)
    for start in starts:
        total[start : start + window] += triangle
    return [(start, triangle / total[start : start + window]) for start in starts]


def whole_scale(mode: InferenceMode | None) -> float | None:
    """Return the scale at which a mode shows the network the whole image, once; None if it does not."""
    if mode in (None, WholeImage()):
        return 1.0
    if isinstance(mode, MultiScale) and mode == MultiScale(mode.scales[:1], flip=False):
        return mode.scales[0]
    return None


def require_whole_images(mode: InferenceMode | None, what: str) -> float:
    """Return the scale of the whole image, see :func:`whole_scale`.

    Raises:
        ValueError: the mode does not show the network whole images at one scale; the message names what requires it.
    """
    scale = whole_scale(mode)
    if scale is None:
        raise ValueError(f"{what} requires whole images at one scale; got {mode}: leave out the mode")
    return scale
