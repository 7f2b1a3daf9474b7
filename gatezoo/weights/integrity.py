"""Checksums of weight files and state dicts."""

from __future__ import annotations

import hashlib
from pathlib import Path

from ..pretrained import PretrainedCfg


def sha256_of(path: Path) -> str:
    """Hex digest of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def keys_sha256(shapes: dict[str, tuple[int, ...]]) -> str:
    """Digest of the names and shapes of a state dict, to tell a renamed network from a damaged file."""
    lines = [f"{key} {list(shape)}" for key, shape in sorted(shapes.items())]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def verify(path: Path, cfg: PretrainedCfg) -> None:
    """Raise ValueError unless the file is, byte for byte, the one that the manifest speaks of."""
    size = path.stat().st_size
    if size != cfg.size:
        raise ValueError(
            f"weights {cfg.name} must be a file of {cfg.size} bytes; {path} has {size}: remove it and retry"
        )
    digest = sha256_of(path)
    if digest != cfg.sha256:
        raise ValueError(f"weights {cfg.name} must have sha256 {cfg.sha256}; {path} has {digest}: remove it and retry")
