"""Messages about the progress of a training."""

from __future__ import annotations

import logging

from ..utils.parallel import is_main_process

_log = logging.getLogger("gatezoo")


def log_info(message: str) -> None:
    """Log a message at level INFO, in the first process of a distributed run only."""
    if is_main_process():
        _log.info("%s", message)
