"""From an entry of the manifest to a local file, whichever of its sources has it, its sha256 checked."""

from __future__ import annotations

import os
import re
from pathlib import Path

from . import hub, weights
from .verified import is_noted, note_down, stamp_of
from .weights import PretrainedCfg

_HUB_SOURCE = re.compile(r"hf-hub:(?P<repo>[\w.-]+/[\w.-]+)@(?P<commit>[0-9a-f]{40})/(?P<file>[\w.-]+\.safetensors)")


def locate(cfg: PretrainedCfg, cache_dir: str | os.PathLike | None = None) -> Path:
    """A local file of the weights, its sha256 checked, from the first source that has it.

    The cache is looked at before the network; a pinned commit that is cached makes no request. A cached file is
    hashed once, and again when anything about it has changed; a damaged one is fetched once more, then refused.

    Args:
        cache_dir: default: the variable ``GATEZOO_CACHE``, else huggingface_hub's own cache.

    Raises:
        ValueError: no source has the file, or what it has is not the file of the manifest.
    """
    failures = []
    for source in cfg.sources:
        try:
            if path := weights.local_file(source):
                return _checked(path, cfg)
            return _from_hub(source, cfg, cache_dir)
        except ValueError as error:
            failures.append(f"{source}: {error}")
    raise ValueError(f"weights {cfg.name} must come from one of their sources; {'; '.join(failures)}")


def local_files(cfg: PretrainedCfg, cache_dir: str | os.PathLike | None = None) -> list[tuple[str, Path]]:
    """(source, file) of every source that is on this machine, unchecked. Nothing is asked of a network."""
    found = []
    for source in cfg.sources:
        if path := weights.local_file(source):
            found += [(source, path)] if path.is_file() else []
        elif path := hub.cached(*_parts(source), cache_dir):
            found.append((source, path))
    return found


def _parts(source: str) -> tuple[str, str, str]:
    match = _HUB_SOURCE.fullmatch(source)
    if not match:
        raise ValueError("a source is bundled:FILE or hf-hub:org/repo@<40-hex commit>/FILE.safetensors")
    return match["repo"], match["commit"], match["file"]


def _checked(path: Path, cfg: PretrainedCfg) -> Path:
    if not path.is_file():
        raise ValueError(f"there is no file {path}: reinstall gatezoo, or mend the folder")
    weights.verify(path, cfg)
    return path


def _from_hub(source: str, cfg: PretrainedCfg, cache_dir: str | os.PathLike | None) -> Path:
    repo, commit, file = _parts(source)
    path = hub.cached(repo, commit, file, cache_dir)
    if path is None:
        path = hub.fetch(repo, commit, file, cache_dir, size=cfg.size)
    # cache/models--org--repo/snapshots/COMMIT/FILE: beside the snapshots, where the client does not look.
    note = path.parents[2] / "verified" / commit / f"{file}.json"
    if is_noted(note, path, cfg.sha256):
        return path
    stamp = stamp_of(path)
    try:
        weights.verify(path, cfg)
    except ValueError:
        # The client looks at the size alone.
        path = hub.fetch(repo, commit, file, cache_dir, again=True, size=cfg.size)
        stamp = stamp_of(path)
        try:
            weights.verify(path, cfg)
        except ValueError:
            hub.forget(path)
            raise
    note_down(note, stamp, cfg.sha256)
    return path
