"""Create a pyramid of any backbone by name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .pyramid import Pyramid
from .wide_resnet import WiderResNet38


def make_pyramid(backbone: str, strides: Sequence[int] | None = None, **kwargs: Any) -> Pyramid | WiderResNet38:
    """Create a pyramid of a backbone by name.

    Args:
        backbone: "wider_resnet38", or a timm model.
        strides: strides of the maps, finest first.
        kwargs: further arguments of :class:`Pyramid`.

    Raises:
        ValueError: as :class:`Pyramid`.
    """
    if backbone == "wider_resnet38":
        return WiderResNet38(backbone, strides, **kwargs)
    return Pyramid(backbone, strides, **kwargs)
