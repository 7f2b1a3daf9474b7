"""Backbones: timm networks as pyramids of feature maps or chains of blocks, dilated if need be, and WiderResNet-38."""

from typing import TYPE_CHECKING

from ..utils.lazy import lazy_exports

if TYPE_CHECKING:
    from .base import OUTPUT_STRIDES
    from .create import make_pyramid
    from .pyramid import Pyramid
    from .spec import BackboneSpec
    from .stages import Stages

# Listing models and reading manifests must not import torch.
__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        "OUTPUT_STRIDES": "base",
        "BackboneSpec": "spec",
        "Pyramid": "pyramid",
        "Stages": "stages",
        "make_pyramid": "create",
    },
)

__all__ = [
    "OUTPUT_STRIDES",
    "BackboneSpec",
    "Pyramid",
    "Stages",
    "make_pyramid",
]
