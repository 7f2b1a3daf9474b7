"""Architectures, one paper a file. Importing them fills the registry; none imports torch before a model is built."""

from . import dignet, fcn, fpn, rignet, zigzag

__all__ = ["dignet", "fcn", "fpn", "rignet", "zigzag"]
