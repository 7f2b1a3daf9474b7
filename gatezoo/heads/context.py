"""Modules that add context to the deepest map, by name, and the head that has nothing else."""

from __future__ import annotations

from torch import Tensor, nn

from ..layers.conv import ConvNormAct
from ..utils.choices import check_choice
from .deeplab import AtrousPooling
from .dense_aspp import DenseASPP
from .pyramid_pooling import PyramidPooling

# Each is made by (channels of the deepest map, width) and has the attribute ``out_channels``.
CONTEXTS: dict[str, type[nn.Module]] = {
    "pyramid_pooling": PyramidPooling,
    "dense_aspp": DenseASPP,
    "atrous_pooling": AtrousPooling,
}


def make_context(context: str, in_channels: int, width: int) -> nn.Module:
    """A context module by name: "pyramid_pooling" (PSPNet), "dense_aspp" or "atrous_pooling" (DeepLabV3)."""
    return CONTEXTS[check_choice("context", context, CONTEXTS)](in_channels, width)


class ContextHead(nn.Module):
    """Maps -> logits (B, K, h, w) of the last one: 1x1 * dropout(refine(context(last))).

    Args:
        num_classes: K.
        context: module to a context map, with the attribute ``out_channels``.
        refine: a 3x3 convolution of as many channels, with norm and ReLU; else nothing.
    """

    def __init__(self, num_classes: int, context: nn.Module, refine: bool = False, dropout: float = 0.1):
        super().__init__()
        self.context = context
        self.refine = ConvNormAct(context.out_channels, context.out_channels) if refine else nn.Identity()
        self.classify = nn.Sequential(nn.Dropout(dropout), nn.Conv2d(context.out_channels, num_classes, 1))

    def forward(self, *maps: Tensor) -> Tensor:
        return self.classify(self.refine(self.context(maps[-1])))
