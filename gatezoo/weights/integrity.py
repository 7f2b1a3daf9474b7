"""Checksums of weight files and state dicts."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

from ..pretrained import PretrainedCfg


def sha256_of(path: Path) -> str:
    """Return the hex sha256 of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def keys_sha256(shapes: Mapping[str, tuple[int, ...]]) -> str:
    """Return the digest of the names and shapes of a state dict: renamed tensors change it, damaged values do not."""
    lines = [f"{key} {list(shape)}" for key, shape in sorted(shapes.items())]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def verify(path: Path, cfg: PretrainedCfg) -> None:
    """Check size and sha256 of a file against its config.

    Raises:
        ValueError: the file differs from that of the config.
    """
    size = path.stat().st_size
    if size != cfg.size:
        raise ValueError(
            f"weights {cfg.name} must be a file of {cfg.size} bytes; {path} has {size}: remove it and retry"
        )
    digest = sha256_of(path)
    if digest != cfg.sha256:
        raise ValueError(f"weights {cfg.name} must have sha256 {cfg.sha256}; {path} has {digest}: remove it and retry")
