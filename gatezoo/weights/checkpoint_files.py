"""Read checkpoint files: safetensors, and PyTorch files that hold nothing but tensors."""

from __future__ import annotations

import contextlib
import os
import pickle
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from ..pretrained import upgrade_metadata
from ..pretrained.rules import parse_json
from ..utils.text import first_line, shorten
from .header import check_metadata

# Bytes. The header of a network of thousands of tensors has a few hundred kilobytes.
MAX_HEADER = 8 << 20
PICKLES = (".pth", ".pt", ".ckpt", ".tar", ".bin")
# Where training programs store the state dict, averaged weights first, and the prefixes they put before its keys.
STATE_DICT_KEYS = ("state_dict_ema", "model_ema", "state_dict", "model")
_PREFIXES = ("module.", "_orig_mod.")


def read_checkpoint(path: str | os.PathLike) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return the tensors of a checkpoint and the metadata that training wrote into its header.

    The metadata is {} for a PyTorch file and for a safetensors file of another program; older metadata is returned
    under the present keys.

    Raises:
        ValueError: no such file, another format, a damaged file, or one that holds more than tensors.
    """
    path = _as_path(path)
    if path.suffix in PICKLES:
        return _extract_state_dict(_load_pickle(path), path), {}
    metadata = checkpoint_metadata(path)  # which is checked before a tensor is read
    with _open_safetensors(path) as file:
        return {key: file.get_tensor(key) for key in file.keys()}, metadata  # noqa: SIM118 - not a dict


def checkpoint_metadata(path: str | os.PathLike) -> dict[str, Any]:
    """Return the metadata of a checkpoint without reading a tensor. Raises as :func:`read_checkpoint` does."""
    path = _as_path(path)
    if path.suffix in PICKLES:
        return {}
    with _open_safetensors(path) as file:
        text = (file.metadata() or {}).get("gatezoo", "{}")
    try:
        metadata = parse_json(text)
        if not isinstance(metadata, dict):
            raise ValueError("it is no JSON object")
        metadata = upgrade_metadata(metadata)
        check_metadata(path, metadata)
    except ValueError as error:
        raise ValueError(f"the header of {path} must describe a network; it does not: {error}") from None
    return metadata


@contextlib.contextmanager
def _open_safetensors(path: Path) -> Iterator[Any]:
    _check_file(path)
    try:
        _check_header(path)
        with safe_open(path, framework="pt") as file:
            yield file
    except (SafetensorError, ValueError, OSError) as error:
        reason = f"{first_line(error):.300}"  # safetensors lists all types that it knows
        raise ValueError(f"a checkpoint must be a complete .safetensors file; {path} is not: {reason}") from None


def _as_path(path: str | os.PathLike) -> Path:
    if not isinstance(path, (str, os.PathLike)):
        raise ValueError(f"a checkpoint must be a path; got {shorten(path)}")
    return Path(path)


def _check_file(path: Path) -> None:
    try:
        is_file = path.is_file()
    except OSError as error:  # too long a name, a folder that may not be entered
        raise ValueError(f"a checkpoint must be a file; {path} cannot be read: {error.strerror}") from None
    if not is_file:
        raise ValueError(f"a checkpoint must be a file; there is none at {path}")


def _check_header(path: Path) -> None:
    """Refuse a header whose stated length is beyond the file, or too long to be read safely."""
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(8)
    length = struct.unpack("<Q", start)[0] if len(start) == 8 else size
    if length > min(MAX_HEADER, size - 8):
        raise ValueError(
            f"its header must be at most {MAX_HEADER} bytes and within the file of {size}; it claims {length}"
        )


def _load_pickle(path: Path) -> Any:
    _check_file(path)
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, OSError) as error:
        raise ValueError(
            f"a {path.suffix} file must hold tensors alone; {path} needs {_unsafe_globals(path, error)}, which could "
            "run code: save its state_dict() by itself, or as safetensors"
        ) from None


def _unsafe_globals(path: Path, error: Exception) -> str:
    """Return the names of the functions and classes that a pickle would call."""
    try:
        names = torch.serialization.get_unsafe_globals_in_checkpoint(path)
    except (ValueError, RuntimeError, pickle.UnpicklingError, EOFError, OSError):
        names = []
    return ", ".join(sorted(names)) or f"something that torch.load refuses ({first_line(error)})"


def _extract_state_dict(content: Any, path: Path) -> dict[str, Tensor]:
    state_dict = content
    if isinstance(content, Mapping):
        state_dict = next((content[key] for key in STATE_DICT_KEYS if isinstance(content.get(key), Mapping)), content)
    if (
        not isinstance(state_dict, Mapping)
        or not state_dict
        or not all(isinstance(value, Tensor) for value in state_dict.values())
    ):
        raise ValueError(
            f"a checkpoint must be a state dict, or hold one as {', '.join(STATE_DICT_KEYS)}; {path} does not: "
            "save model.state_dict()"
        )
    return {_strip_prefixes(str(key)): value for key, value in state_dict.items()}


def _strip_prefixes(key: str) -> str:
    while prefix := next((prefix for prefix in _PREFIXES if key.startswith(prefix)), ""):
        key = key[len(prefix) :]
    return key
