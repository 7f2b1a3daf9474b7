"""``python -m gatezoo``."""

from .cli import main

main()
