"""Architectures, one paper a file. Importing them fills the registry; none imports torch before a model is built."""

from . import depthgate, dignet, fcn, fpn, gff, pspnet, rignet, zigzag

__all__ = ["depthgate", "dignet", "fcn", "fpn", "gff", "pspnet", "rignet", "zigzag"]
