"""Run the command line with ``python -m gatezoo``."""

from .cli.app import main

main()
