"""Tensor building blocks that know nothing about networks: convolution, resizing, grid pooling, normalization."""

from .conv import ConvNormAct, SingletonBatchNorm2d
from .grid_pool import average_to, pool_to_grids
from .normalize import Normalize
from .resize import is_tracing, resize_to

__all__ = [
    "ConvNormAct",
    "Normalize",
    "SingletonBatchNorm2d",
    "average_to",
    "is_tracing",
    "pool_to_grids",
    "resize_to",
]
