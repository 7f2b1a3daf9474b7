"""Architectures, one paper a file. Importing them fills the registry; none imports torch before a model is built."""

from . import dignet, fcn, gff, pspnet, rignet, zigzag

__all__ = ["dignet", "fcn", "gff", "pspnet", "rignet", "zigzag"]
