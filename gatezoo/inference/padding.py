"""Padding of small images, and the inference mode of a set of options."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ..utils.images import MIN_SIZE
from .modes import Forward, InferenceMode, MultiScale, SlidingWindow, WholeImage

_WHOLE = WholeImage()
# Largest side of a padded image, which must fit into memory whole.
MAX_SIDE = 10_000


@dataclass(frozen=True)
class PadTo(InferenceMode):
    """Padding of images with sides below ``side`` at the right and below, with the mean color: 0 once normalized.

    The logits of the padded image are cut to the image again. Larger sides stay as they are. DeepLabV2 (Chen et al.,
    2017) tests on squares of 513 pixels, and DIGNet (Sec. 4.1) as it does: every image of PASCAL VOC then has the same
    number of pixels, and what an unpadded network computes at the right and lower edge is different.

    Attributes:
        side: of the square, in pixels.
        inner: mode that runs the padded image; it scales and mirrors the padding too.

    Raises:
        ValueError: a side that is not larger than 32 pixels, the minimum of all networks, or above 10000.
    """

    side: int = 513
    inner: InferenceMode = _WHOLE

    def __post_init__(self):
        if not isinstance(self.side, int) or not MIN_SIZE < self.side <= MAX_SIDE:
            raise ValueError(
                f"pad_to must be a whole number of pixels larger than {MIN_SIZE}, up to {MAX_SIDE}; got {self.side}: "
                "513 is usual"
            )

    @torch.no_grad()
    def __call__(self, forward: Forward, batch: Tensor) -> Tensor:
        """Return the logits of the padded image, cut to the image."""
        height, width = batch.shape[-2:]
        return self.inner(forward, self.padded(batch))[..., :height, :width]

    @torch.no_grad()
    def classes(self, forward: Forward, batch: Tensor) -> Tensor:
        """Return the label map of the padded image, cut to the image."""
        height, width = batch.shape[-2:]
        return self.inner.classes(forward, self.padded(batch))[..., :height, :width]

    def padded(self, batch: Tensor) -> Tensor:
        """Return a normalized batch (B, C, H, W) padded to (B, C, max(H, side), max(W, side))."""
        height, width = batch.shape[-2:]
        return F.pad(batch, (0, max(0, self.side - width), 0, max(0, self.side - height)))

    def __str__(self) -> str:
        return f"padded to {self.side}x{self.side}, {self.inner}"


def make_inference_mode(
    scales: Sequence[float] = (),
    flip: bool = False,
    window: int | None = None,
    overlap: float | None = None,
    pad_to: int | None = None,
) -> InferenceMode:
    """Create the inference mode of a set of options: the image is padded, then scaled, then cut into windows.

    Args:
        scales: see :class:`MultiScale`; empty: one scale of 1.
        flip: see :class:`MultiScale`.
        window: see :class:`SlidingWindow`; default: whole images.
        overlap: see :class:`SlidingWindow`; default: 0.5.
        pad_to: see :class:`PadTo`; default: no padding.

    Raises:
        ValueError: overlap is given without a window, or a value is not valid for its mode.
    """
    if overlap is not None and window is None:
        raise ValueError(f"overlap requires a window; got overlap {overlap} without one: pass --window-size 512")
    mode: InferenceMode = _WHOLE
    if window is not None:
        mode = SlidingWindow(window, 0.5 if overlap is None else overlap)
    if scales or flip:
        mode = MultiScale(tuple(scales) or (1.0,), flip, mode)
    return mode if pad_to is None else PadTo(pad_to, mode)
