"""Create heads of a single map by name."""

from __future__ import annotations

from torch import nn

from ..utils.choices import check_choice
from .aspp import ASPPHead
from .fcn import FCNHead, LinearHead

SINGLE_MAP_HEADS = {"linear": LinearHead, "fcn": FCNHead, "aspp": ASPPHead}


def make_head(head: str, in_channels: int, num_classes: int, width: int | None = None) -> nn.Module:
    """Return a classifier of one map by name: "linear" (1x1), "fcn" (3x3, 1x1) or "aspp" (DeepLabV2).

    Args:
        head: its name.
        in_channels: channels of the map.
        num_classes: K.
        width: channels of the 3x3 convolution of "fcn"; by default 512.

    Raises:
        ValueError: the name is unknown, or the head has no width.
    """
    make = SINGLE_MAP_HEADS[check_choice("head", head, SINGLE_MAP_HEADS)]
    if width is None:
        return make(in_channels, num_classes)
    if head != "fcn":
        raise ValueError(f"head_width must be None for head={head!r}; got {width}: only 'fcn' has a width")
    return make(in_channels, num_classes, width)
