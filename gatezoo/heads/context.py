"""Context modules of the deepest map by name, and the head that classifies their output."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from ..layers.conv import ConvNormAct
from ..utils.choices import check_choice
from .base import ContextModule
from .deeplab import AtrousPooling
from .dense_aspp import DenseASPP
from .pyramid_pooling import PyramidPooling

# Each is constructed from the channels of the deepest map and the width.
CONTEXTS: dict[str, Callable[[int, int], ContextModule]] = {
    "pyramid_pooling": PyramidPooling,
    "dense_aspp": DenseASPP,
    "atrous_pooling": AtrousPooling,
}


def make_context(context: str, in_channels: int, width: int) -> ContextModule:
    """Return a context module by name: "pyramid_pooling" (PSPNet), "dense_aspp" or "atrous_pooling" (DeepLabV3).

    Raises:
        ValueError: the name is unknown.
    """
    return CONTEXTS[check_choice("context", context, CONTEXTS)](in_channels, width)


class ContextHead(nn.Module):
    """Classifier of the context of the last map: 1x1 * dropout(refine(context(last))), (B, K, h, w).

    Args:
        num_classes: K.
        context: module from the last map to the context map.
        refine: add a 3x3 convolution that keeps the channels, with norm and ReLU.
        dropout: probability before the classifier.
    """

    def __init__(self, num_classes: int, context: ContextModule, refine: bool = False, dropout: float = 0.1):
        super().__init__()
        self.context = context
        self.refine = ConvNormAct(context.out_channels, context.out_channels) if refine else nn.Identity()
        self.classify = nn.Sequential(nn.Dropout(dropout), nn.Conv2d(context.out_channels, num_classes, 1))

    def forward(self, *maps: Tensor) -> Tensor:
        return self.classify(self.refine(self.context(maps[-1])))
