"""Resolve an entry of the manifest to a local file with the right sha256, from any of its sources."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from .. import hub
from ..pretrained import BUNDLED, PretrainedCfg
from .digest_cache import file_signature, is_cached, store_digest
from .integrity import verify

_WEB_SOURCE = re.compile(r"https://[\w.-]+(:\d+)?(/[\w.~%+-]+)*/[\w.-]+\.safetensors")
_HUB_SOURCE = re.compile(r"hf-hub:(?P<repo>[\w.-]+/[\w.-]+)@(?P<commit>[0-9a-f]{40})/(?P<file>[\w.-]+\.safetensors)")


def resolve_weights(cfg: PretrainedCfg, cache_dir: str | os.PathLike | None = None) -> Path:
    """Return a local file of the weights, its sha256 checked, from the first source that has it.

    The cache is searched before the network; a cached file at a pinned commit makes no request. A cached file is
    hashed once, and again when its size, times or inode changed; a damaged one is downloaded once more, then refused.

    Args:
        cfg: config of the weights.
        cache_dir: folder of downloads; default: the variable ``GATEZOO_CACHE``, else huggingface_hub's own cache.

    Raises:
        ValueError: no source has the file, or its file is not that of the config.
    """
    failures = []
    for source in cfg.sources:
        try:
            if path := local_file(source):
                return _checked(path, cfg)
            return _fetch_verified(_remote_source(source, cfg, cache_dir), cfg)
        except ValueError as error:
            failures.append(f"{source}: {error}")
    raise ValueError(f"weights {cfg.name} must come from one of their sources; {'; '.join(failures)}")


def list_local_files(cfg: PretrainedCfg, cache_dir: str | os.PathLike | None = None) -> list[tuple[str, Path]]:
    """Return (source, file) of every source that is on this machine, unchecked and without network access."""
    found = []
    for source in cfg.sources:
        if path := local_file(source):
            found += [(source, path)] if path.is_file() else []
        elif path := _remote_source(source, cfg, cache_dir).cached():
            found.append((source, path))
    return found


def local_file(source: str) -> Path | None:
    """Return the file of a ``bundled:FILE`` or ``local-dir:PATH`` source; None for other kinds of source."""
    scheme, _, name = source.partition(":")
    return {"bundled": BUNDLED / name, "local-dir": Path(name)}.get(scheme)


@dataclass(frozen=True)
class _RemoteSource:
    """A source that is not on this machine.

    Attributes:
        cached: returns its file in the cache, or None.
        fetch: downloads it to the cache and returns the file; given True, replaces a cached one.
        note: returns the path of the digest note of a cached file, see :mod:`gatezoo.weights.digest_cache`.
    """

    cached: Callable[[], Path | None]
    fetch: Callable[[bool], Path]
    note: Callable[[Path], Path]


def _remote_source(source: str, cfg: PretrainedCfg, cache_dir: str | os.PathLike | None) -> _RemoteSource:
    if match := _HUB_SOURCE.fullmatch(source):
        repo, commit, file = match["repo"], match["commit"], match["file"]
        return _RemoteSource(
            lambda: hub.cached(repo, commit, file, cache_dir),
            lambda force_download: hub.fetch(
                repo, commit, file, cache_dir, force_download=force_download, size=cfg.size
            ),
            # cache/models--org--repo/snapshots/COMMIT/FILE: beside the snapshots, where the client does not look.
            lambda path: path.parents[2] / "verified" / commit / f"{file}.json",
        )
    if _WEB_SOURCE.fullmatch(source):
        cache_path = hub.cache_path(source, cfg.sha256, cache_dir)
        return _RemoteSource(
            lambda: cache_path if cache_path.is_file() else None,
            lambda force_download: hub.download(source, cache_path, cfg.sha256, cfg.size),
            lambda path: path.with_name(f"{path.name}.verified.json"),
        )
    raise ValueError(
        "a source must be bundled:FILE, hf-hub:org/repo@<40-hex commit>/FILE.safetensors or "
        f"https://HOST/FILE.safetensors; got {source!r}: choose one of these"
    )


def _checked(path: Path, cfg: PretrainedCfg) -> Path:
    if not os.path.isfile(path):
        raise ValueError(f"the file {path} must exist; it does not: reinstall gatezoo, or restore the folder")
    verify(path, cfg)
    return path


def _fetch_verified(source: _RemoteSource, cfg: PretrainedCfg) -> Path:
    path = source.cached() or source.fetch(False)
    note = source.note(path)
    if is_cached(note, path, cfg.sha256):
        return path
    signature = file_signature(path)
    try:
        verify(path, cfg)
    except ValueError:
        # The Hub's client checks no more than the size of a download.
        path = source.fetch(True)
        signature = file_signature(path)
        try:
            verify(path, cfg)
        except ValueError:
            hub.delete_cached(path)
            raise
    store_digest(note, signature, cfg.sha256)
    return path
