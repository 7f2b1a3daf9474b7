"""Encodings of a map with context by name, each in place of ZigZagNet's region context encoding (Table 2)."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from ..gates.full_connection import FullConnection, GlobalContext
from ..gates.large_kernel import LargeKernel
from ..utils.choices import check_choice
from .deeplab import AtrousPooling
from .pyramid_pooling import PyramidPooling

# At stride 16 the rates are the authors' 6, 12 and 18, at stride 8 twice as much: the same distances in the image.
_DISTANCES = (96, 192, 288)
# Each is constructed from the channels and the stride of the map.
LEVEL_CONTEXTS: dict[str, Callable[[int, int], nn.Module]] = {
    "none": lambda channels, stride: nn.Identity(),
    "global": lambda channels, stride: GlobalContext(channels),
    "full_connection": lambda channels, stride: FullConnection(channels),
    "large_kernel": lambda channels, stride: LargeKernel(channels),
    "pyramid_pooling": lambda channels, stride: PyramidPooling(channels, channels),
    "atrous_pooling": lambda channels, stride: AtrousPooling(channels, channels, [d // stride for d in _DISTANCES]),
}


def make_level_context(context: str, channels: int, stride: int) -> nn.Module:
    """Return an encoding (B, C, h, w) -> (B, C, h, w) by name.

    The names in the order of ZigZagNet's Table 2, with the works that it cites::

        "none"              R = F
        "global"            one vector of all regions by full connection (Mostajabi et al., CVPR 2015)
        "full_connection"   one for each region (Liu et al., PANet, CVPR 2018)
        "large_kernel"      k x 1 and 1 x k convolutions (Peng et al., CVPR 2017)
        "pyramid_pooling"   R = the context map of PSPNet (Zhao et al., CVPR 2017)
        "atrous_pooling"    R = the context map of DeepLabV3 (Chen et al., 2017)

    The paper says of each only that it is employed in place of the encoding. The context maps of the last two contain
    F, so that nothing is added to them; rates of the atrous convolutions are inverse to the stride.

    Args:
        context: the name.
        channels: C.
        stride: of the map.

    Raises:
        ValueError: the name is unknown.
    """
    return LEVEL_CONTEXTS[check_choice("context", context, LEVEL_CONTEXTS)](channels, stride)
