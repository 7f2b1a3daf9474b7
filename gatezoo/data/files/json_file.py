"""Read JSON files of unknown origin."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from ...utils.text import first_line

# COCO's largest file has half of that. Parsed, a file takes several times its size in memory.
MAX_BYTES = 1 << 30


def read_json(file: Path, what: str, max_bytes: int = MAX_BYTES) -> Any:
    """Read a JSON file in UTF-8.

    Args:
        file: the file.
        what: its content in messages, in the plural: "COCO annotations".
        max_bytes: size of the largest file.

    Raises:
        ValueError: no such file, a larger one, or no JSON.
    """
    if not os.path.isfile(file):
        raise ValueError(f"{what} must be a JSON file; there is none at {file}")
    size = file.stat().st_size
    if size > max_bytes:
        raise ValueError(
            f"{what} must have at most {max_bytes >> 20} MiB; {file} has {size >> 20}: split it into several files"
        )
    try:
        return json.loads(file.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(f"{what} must be in JSON; {file} does not hold it: {first_line(error)}") from None
