"""Tensor building blocks without knowledge of networks: convolution, resizing, grid pooling, normalization."""

from .conv import ConvNormAct, PooledNorm
from .grid_pool import average_to, pool_to_grids
from .normalize import Normalize
from .resize import resize_to

__all__ = [
    "ConvNormAct",
    "Normalize",
    "PooledNorm",
    "average_to",
    "pool_to_grids",
    "resize_to",
]
