"""Create heads of a single map by name."""

from __future__ import annotations

from torch import nn

from ..utils.choices import check_choice
from .aspp import ASPPHead
from .fcn import FCNHead, LinearHead

SINGLE_MAP_HEADS = {"linear": LinearHead, "fcn": FCNHead, "aspp": ASPPHead}


def make_head(head: str, in_channels: int, num_classes: int) -> nn.Module:
    """Return a classifier of one map by name: "linear" (1x1), "fcn" (3x3, 1x1) or "aspp" (DeepLabV2).

    Raises:
        ValueError: the name is unknown.
    """
    return SINGLE_MAP_HEADS[check_choice("head", head, SINGLE_MAP_HEADS)](in_channels, num_classes)
