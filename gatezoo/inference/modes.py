"""Ways to run a network over a image: whole, at several scales and flipped, or window by window.

A mode is called as ``mode(forward, batch)``, where ``forward`` maps a normalised batch (B, C, H, W) to logits
(B, K, H, W): a network of the zoo, or ``functools.partial(model, iterations=3)``. Modes nest:
``MultiScale(scales, inner=SlidingWindow(512))`` is the usual protocol for Cityscapes, every scaled image cut into
windows; ``SlidingWindow(512, inner=MultiScale(scales))`` scales every window, and needs no more memory than one.
"""

from __future__ import annotations

import itertools
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ..layers.resize import resize_to
from ..segmenters.base import MIN_SIZE

Forward = Callable[[Tensor], Tensor]


class InferenceMode(ABC):
    """A way to run a network."""

    @abstractmethod
    def __call__(self, forward: Forward, batch: Tensor) -> Tensor:
        """Logits (B, K, H, W) of a normalised batch (B, C, H, W): their softmax is the classes' probabilities."""

    def classes(self, forward: Forward, batch: Tensor) -> Tensor:
        """The class of every pixel: (B, H, W) of uint8, of int32 beyond 256 classes."""
        return classes_of_logits(self(forward, batch))


def classes_of_logits(logits: Tensor) -> Tensor:
    return logits.argmax(1).to(torch.uint8 if logits.shape[1] <= 256 else torch.int32)


@dataclass(frozen=True)
class WholeImage(InferenceMode):
    """One run over the whole image at its own size."""

    def __call__(self, forward: Forward, batch: Tensor) -> Tensor:
        return forward(batch)

    def __str__(self) -> str:
        return "whole images"


@dataclass(frozen=True)
class MultiScale(InferenceMode):
    """Probabilities averaged over scaled copies of the image, and over their mirror images.

    With S scales, x_s the image resized by s (bilinear, antialiased) and up() back to its own size (bilinear)::

        logits = log 1/S sum_s up(p(x_s)),        p(x) = softmax(inner(x))
        with flip:  p(x) = (softmax(inner(x)) + mirror(softmax(inner(mirror(x))))) / 2

    One scale of 1 without flip is ``inner`` itself, bit for bit. No scaled side falls below 32 pixels, the least that
    networks take. Published scales: DIGNet .5 .75 1 1.25 1.5 with flips, GFF .75 1 1.25 1.5 1.75.

    Raises:
        ValueError: no scale, or one that is not positive.
    """

    scales: Sequence[float] = (0.5, 0.75, 1.0, 1.25, 1.5, 1.75)
    flip: bool = True
    inner: InferenceMode = WholeImage()

    def __post_init__(self):
        if not self.scales or not all(0 < scale < math.inf for scale in self.scales):
            raise ValueError(f"scales must be positive numbers, at least one; got {list(self.scales)}: try 0.5,1,1.5")

    @torch.no_grad()
    def __call__(self, forward: Forward, batch: Tensor) -> Tensor:
        if tuple(self.scales) == (1,) and not self.flip:
            return self.inner(forward, batch)
        total = None
        for scale in self.scales:
            seen = scaled(batch, scale)
            probabilities = softmax_of(self.inner(forward, seen))
            if self.flip:
                probabilities += softmax_of(self.inner(forward, seen.flip(-1))).flip(-1)
            probabilities = resize_to(probabilities, batch.shape[-2:])
            total = probabilities if total is None else total.add_(probabilities)
        tiny = torch.finfo(total.dtype).tiny  # a probability that underflowed to 0 has no logarithm
        return total.div_(len(self.scales) * (1 + self.flip)).clamp_(min=tiny).log_()

    def __str__(self) -> str:
        scales = "scale" + ("s " if len(self.scales) > 1 else " ") + ", ".join(f"{scale:g}" for scale in self.scales)
        return f"{scales}{' with flips' if self.flip else ''}, {self.inner}"


def scaled(batch: Tensor, scale: float) -> Tensor:
    """Images resized by a factor, antialiased; no side below the least that networks take."""
    size = [max(min(side, MIN_SIZE), round(side * scale)) for side in batch.shape[-2:]]
    if size == list(batch.shape[-2:]):
        return batch
    return F.interpolate(batch, size=size, mode="bilinear", align_corners=False, antialias=True)


def softmax_of(logits: Tensor) -> Tensor:
    """Probabilities of the classes, in float32 at least."""
    return logits.softmax(1, dtype=torch.promote_types(logits.dtype, torch.float32))


@dataclass(frozen=True)
class SlidingWindow(InferenceMode):
    """Overlapping windows whose logits are averaged with weights that fall off towards a window's edges::

        logits(y, x) = sum_w a_w(y) b_w(x) inner(window w)(y, x)

    a_w and b_w are triangles over the window's rows and columns, at least 1 pixel's worth high, divided by their sum
    over all windows: see :func:`window_weights`. Of the sums only the rows that a window still reaches are held, so
    :meth:`classes` needs B x K x window x W numbers beyond the image, whatever its height. A image not larger than
    the window is run as a whole; along a side that is shorter, the window is as long as that side.

    Attributes:
        window: side of a square window in pixels, or (height, width).
        overlap: least share of its side that a window has in common with the next; in 0 .. 1, 1 excluded.

    Raises:
        ValueError: a window not larger than the 32 pixels that networks take at least, or another overlap.
    """

    window: int | tuple[int, int] = 512
    overlap: float = 0.5
    inner: InferenceMode = WholeImage()

    def __post_init__(self):
        if not all(isinstance(side, int) and side > MIN_SIZE for side in self._sides()):
            raise ValueError(
                f"a window must be a whole number of pixels larger than {MIN_SIZE}; got {self.window}: 512 is usual"
            )
        if not 0 <= self.overlap < 1:
            raise ValueError(
                f"overlap must be a share of the window, from 0 and below 1; got {self.overlap}: 0.5 is usual"
            )

    def _sides(self) -> tuple[int, int]:
        return tuple(self.window) if isinstance(self.window, (tuple, list)) else (self.window, self.window)

    def _is_whole(self, batch: Tensor) -> bool:
        return all(side <= window for side, window in zip(batch.shape[-2:], self._sides()))

    @torch.no_grad()
    def __call__(self, forward: Forward, batch: Tensor) -> Tensor:
        if self._is_whole(batch):
            return self.inner(forward, batch)
        logits = None
        for top, band in self._bands(forward, batch):
            if logits is None:
                logits = band.new_empty(*band.shape[:2], *batch.shape[-2:])
            logits[:, :, top : top + band.shape[2]] = band
        return logits

    @torch.no_grad()
    def classes(self, forward: Forward, batch: Tensor) -> Tensor:
        if self._is_whole(batch):
            return self.inner.classes(forward, batch)
        return torch.cat([classes_of_logits(band) for _, band in self._bands(forward, batch)], dim=1)

    def _bands(self, forward: Forward, batch: Tensor) -> Iterator[tuple[int, Tensor]]:
        """(top, logits (B, K, h, W)) of rows that no further window reaches. Use each before asking for the next."""
        height, width = batch.shape[-2:]
        tall, wide = (min(side, window) for side, window in zip((height, width), self._sides()))
        rows, columns = (window_weights(side, part, self.overlap) for side, part in ((height, tall), (width, wide)))
        sums = None
        for (top, down), (following, _) in itertools.pairwise([*rows, (height, None)]):
            for left, across in columns:
                logits = self.inner(forward, batch[..., top : top + tall, left : left + wide])
                if sums is None:
                    dtype = torch.promote_types(logits.dtype, torch.float32)
                    sums = logits.new_zeros(*logits.shape[:2], tall, width, dtype=dtype)
                weights = (down[:, None] * across).to(sums)
                sums[..., left : left + wide].addcmul_(logits, weights)
            done = following - top
            yield top, sums[:, :, :done]
            pending = sums[:, :, done:].clone()
            sums[:, :, : tall - done] = pending
            sums[:, :, tall - done :] = 0

    def __str__(self) -> str:
        height, width = self._sides()
        return f"windows of {height}x{width} that overlap by {self.overlap:.0%}"


def window_weights(length: int, window: int, overlap: float) -> list[tuple[int, Tensor]]:
    """Windows along a side of ``length`` pixels: (start, weights (window,)) of each, evenly spread from end to end.

    Neighbours share at least ``overlap`` of the window. Weights are triangles, 1 at a window's first and last pixel
    and rising by 1 a pixel, divided by their sum over all windows: positive, and 1 in sum at every pixel.
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


def make_inference_mode(
    scales: Sequence[float] = (), flip: bool = False, window: int | None = None, overlap: float | None = None
) -> InferenceMode:
    """The mode that a command line asks for: windows are cut out of every scaled image.

    Raises:
        ValueError: an overlap without a window, and what the modes refuse.
    """
    if overlap is not None and window is None:
        raise ValueError(f"an overlap must be of windows; got overlap {overlap} and no window: add --window 512")
    inner = WholeImage() if window is None else SlidingWindow(window, 0.5 if overlap is None else overlap)
    return MultiScale(tuple(scales) or (1.0,), flip, inner) if scales or flip else inner
