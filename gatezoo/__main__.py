"""``python -m gatezoo``."""

from .cli.app import main

main()
