"""Read and write the file of a training's state, whose last bytes are the SHA-256 of those before them."""

from __future__ import annotations

import hashlib
import io
import os
import pickle
from pathlib import Path
from typing import Any

import torch

from ..utils.files import atomic_write

_MARK = b"\ngatezoo state, sha256 "
_END = len(_MARK) + 64


def write_state(path: Path, state: dict[str, Any], previous: Path) -> None:
    """Write a state; the file that is there now is kept as ``previous``."""
    # Through memory, so that a full disk raises the same kind of error for any format.
    memory = io.BytesIO()
    torch.save(state, memory)
    memory.write(_MARK + hashlib.sha256(memory.getbuffer()).hexdigest().encode())
    atomic_write(path, lambda tmp_path: tmp_path.write_bytes(memory.getbuffer()), previous)


def read_state(path: Path) -> dict[str, Any]:
    """Read a state to the CPU.

    Raises:
        ValueError: a file that is not there, cannot be read, is no state, or is not as it was written.
    """
    try:
        size = os.path.getsize(path)
        with path.open("rb") as file:
            content = memoryview(file.read(max(0, size - _END)))
            end = file.read()
    except OSError as error:
        raise ValueError(f"{path.name} cannot be read ({error.strerror or error})") from None
    if not size:
        raise ValueError(f"{path.name} is empty")
    if not end.startswith(_MARK):
        raise ValueError(f"{path.name} is cut or no state of a training")
    if hashlib.sha256(content).hexdigest().encode() != end[len(_MARK) :]:
        raise ValueError(f"{path.name} is damaged: its SHA-256 differs")
    try:
        state = torch.load(io.BytesIO(content), weights_only=True, map_location="cpu")
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError) as error:
        raise ValueError(f"{path.name} is no state of a training") from error
    if not isinstance(state, dict):
        raise ValueError(f"{path.name} is no state of a training")
    return state
