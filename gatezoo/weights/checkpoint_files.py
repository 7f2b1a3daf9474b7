"""Files of tensors: safetensors, and PyTorch's own where they hold nothing that could run."""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

# A network of thousands of tensors needs a few hundred kilobytes to name them.
MAX_HEADER = 8 << 20
PICKLES = (".pth", ".pt", ".ckpt", ".tar", ".bin")
# Where training programs keep the network's tensors, the averaged ones first, and what they put before the names.
STATE_DICT_KEYS = ("state_dict_ema", "model_ema", "state_dict", "model")
_PREFIXES = ("module.", "_orig_mod.")


def read_checkpoint(path: str | os.PathLike) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors of a safetensors file, and the facts that training wrote into its header ({} if none); or of a ``.pth``.

    Raises:
        ValueError: no such file, another format, a damaged file, or one that holds more than tensors.
    """
    path = Path(path)
    if path.suffix in PICKLES:
        return _extract_state_dict(_load_pickle(path), path), {}
    with _opened(path) as file:
        return {key: file.get_tensor(key) for key in file.keys()}, _facts(file)  # noqa: SIM118 - not a dict


def checkpoint_facts(path: str | os.PathLike) -> dict[str, Any]:
    """The facts alone; no tensor is read. Raises as :func:`read_checkpoint` does."""
    if Path(path).suffix in PICKLES:
        return {}
    with _opened(path) as file:
        return _facts(file)


def _facts(file: Any) -> dict[str, Any]:
    facts = json.loads((file.metadata() or {}).get("gatezoo", "{}"))
    if not isinstance(facts, dict):
        raise ValueError("its facts are no object")
    return facts


@contextlib.contextmanager
def _opened(path: str | os.PathLike) -> Iterator[Any]:
    path = Path(path)
    _check_file(path)
    try:
        _check_header(path)
        with safe_open(path, framework="pt") as file:
            yield file
    except (SafetensorError, ValueError, OSError, RecursionError) as error:
        raise ValueError(f"a checkpoint must be a whole .safetensors file; {path} is not: {error}") from None


def _check_file(path: Path) -> None:
    if not path.is_file():
        raise ValueError(f"a checkpoint must be a file; there is none at {path}")


def _check_header(path: Path) -> None:
    """Refuse a header whose length is a lie, or so long that reading it is the attack."""
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(8)
    length = struct.unpack("<Q", start)[0] if len(start) == 8 else size
    if length > min(MAX_HEADER, size - 8):
        raise ValueError(f"its header must be at most {MAX_HEADER} bytes and in the file of {size}; it claims {length}")


def _load_pickle(path: Path) -> Any:
    _check_file(path)
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, OSError) as error:
        raise ValueError(
            f"a {path.suffix} file must hold tensors alone; {path} asks for {_unsafe_globals(path, error)}, and that could run: "
            "save its state_dict() by itself, or as safetensors"
        ) from None


def _unsafe_globals(path: Path, error: Exception) -> str:
    """What a pickle wants to call."""
    try:
        names = torch.serialization.get_unsafe_globals_in_checkpoint(path)
    except (ValueError, RuntimeError, pickle.UnpicklingError, EOFError, OSError):
        names = []
    return ", ".join(sorted(names)) or f"what torch.load refuses ({_first_line(error)})"


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def _extract_state_dict(held: Any, path: Path) -> dict[str, Tensor]:
    place = next(
        (held[key] for key in STATE_DICT_KEYS if isinstance(held, Mapping) and isinstance(held.get(key), Mapping)), held
    )
    if not isinstance(place, Mapping) or not place or not all(isinstance(value, Tensor) for value in place.values()):
        raise ValueError(
            f"a checkpoint must be a state dict, or hold one as {', '.join(STATE_DICT_KEYS)}; {path} does not"
        )
    return {_strip_prefixes(str(key)): value for key, value in place.items()}


def _strip_prefixes(key: str) -> str:
    while prefix := next((prefix for prefix in _PREFIXES if key.startswith(prefix)), ""):
        key = key[len(prefix) :]
    return key
