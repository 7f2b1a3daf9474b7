"""Architectures, one file per paper. Importing them fills the registry; torch is imported when a model is built."""

from . import deeplab, deformable_maskrcnn, depthgate, dignet, fcis, fcn, fpn, gff, pspnet, rignet, zigzag

__all__ = [
    "deeplab",
    "deformable_maskrcnn",
    "depthgate",
    "dignet",
    "fcis",
    "fcn",
    "fpn",
    "gff",
    "pspnet",
    "rignet",
    "zigzag",
]
