"""Messages about the progress of a training."""

from __future__ import annotations

import logging
import os

_log = logging.getLogger("gatezoo")


def log_info(message: str) -> None:
    """Log a message at level INFO, in the first process of a distributed run only."""
    # Set by torchrun and accelerate; torch.distributed knows the rank only once the process group exists.
    if os.environ.get("RANK", "0") == "0":
        _log.info("%s", message)
