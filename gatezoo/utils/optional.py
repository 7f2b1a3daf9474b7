"""Optional dependencies."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType


def require_package(module: str, purpose: str) -> ModuleType:
    """Import a module of the ``data`` extra.

    Raises:
        ValueError: it is not installed; says how to install it.
    """
    try:
        return import_module(module)
    except ImportError:
        package = module.split(".")[0]
        raise ValueError(f'reading {purpose} needs the package {package}: run pip install "gatezoo[data]"') from None
