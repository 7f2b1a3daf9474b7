"""Import optional dependencies."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
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


def require_extra(extra: str, purpose: str, *packages: str) -> None:
    """Check that packages of an extra are installed, without importing them.

    Args:
        extra: the extra that installs them.
        purpose: what needs them, for the message: "evaluation".
        packages: names of the modules.

    Raises:
        ValueError: one is not installed; the message has the command that installs it.
    """
    missing = [package for package in packages if not _is_installed(package)]
    if missing:
        raise ValueError(f'{purpose} needs the package {", ".join(missing)}: run pip install "gatezoo[{extra}]"')


def _is_installed(package: str) -> bool:
    try:
        return find_spec(package) is not None
    except ImportError:
        return False
