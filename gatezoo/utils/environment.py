"""Versions of what a result depends on."""

from __future__ import annotations

import importlib.metadata

_DISTRIBUTIONS = ("torch", "torchvision", "timm", "safetensors")


def versions(*more: str) -> dict[str, str]:
    """Of the packages that shape a network and its file, and of ``more``."""
    return {name: importlib.metadata.version(name).split("+")[0] for name in (*_DISTRIBUTIONS, *more)}
