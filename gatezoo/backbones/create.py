"""Create a pyramid of any backbone by name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .pyramid import Pyramid
from .wide_resnet import WiderResNet38


def make_pyramid(backbone: str, strides: Sequence[int], **kwargs: Any) -> Pyramid | WiderResNet38:
    """Maps of a backbone by name: one of this file, else one of timm's; arguments as of :class:`Pyramid`."""
    own = {"wider_resnet38": WiderResNet38}
    return own.get(backbone, Pyramid)(backbone, strides, **kwargs)
