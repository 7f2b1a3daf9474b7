"""The command line: one command a file, no logic."""

from .app import app, main

__all__ = ["app", "main"]
