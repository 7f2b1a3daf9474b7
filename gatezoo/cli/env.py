"""``gatezoo env``."""

from __future__ import annotations


def env() -> None:
    """Print versions, devices and settings for a bug report."""
    from gatezoo import __version__

    from ..utils.environment import describe_environment

    for key, value in {"gatezoo": __version__, **describe_environment()}.items():
        print(f"{key:18} {value}")
