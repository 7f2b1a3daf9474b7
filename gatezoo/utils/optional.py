"""Import optional dependencies."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType


def require_package(module: str, purpose: str, extra: str = "data") -> ModuleType:
    """Import and return a module of an optional dependency.

    Args:
        module: dotted name of the module.
        purpose: the files that need it, for the message: "MATLAB files".
        extra: the extra that installs the package.

    Raises:
        ValueError: the package is not installed; the message has the command that installs it.
    """
    try:
        return import_module(module)
    except ImportError:
        package = module.split(".")[0]
        raise ValueError(f'reading {purpose} needs the package {package}: run pip install "gatezoo[{extra}]"') from None
