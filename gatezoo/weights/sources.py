"""From an entry of the manifest to a local file, whichever of its sources has it, its sha256 checked."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from .. import hub
from ..pretrained import BUNDLED, PretrainedCfg
from ..weights.integrity import verify
from .digest_cache import file_signature, is_cached, store_digest

_WEB_SOURCE = re.compile(r"https://[\w.-]+(:\d+)?(/[\w.~%+-]+)*/[\w.-]+\.safetensors")
_HUB_SOURCE = re.compile(r"hf-hub:(?P<repo>[\w.-]+/[\w.-]+)@(?P<commit>[0-9a-f]{40})/(?P<file>[\w.-]+\.safetensors)")


def resolve_weights(cfg: PretrainedCfg, cache_dir: str | os.PathLike | None = None) -> Path:
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
            if path := local_file(source):
                return _checked(path, cfg)
            return _fetch_verified(_remote(source, cfg, cache_dir), cfg)
        except ValueError as error:
            failures.append(f"{source}: {error}")
    raise ValueError(f"weights {cfg.name} must come from one of their sources; {'; '.join(failures)}")


def list_local_files(cfg: PretrainedCfg, cache_dir: str | os.PathLike | None = None) -> list[tuple[str, Path]]:
    """(source, file) of every source that is on this machine, unchecked. Nothing is asked of a network."""
    found = []
    for source in cfg.sources:
        if path := local_file(source):
            found += [(source, path)] if path.is_file() else []
        elif path := _remote(source, cfg, cache_dir).cached():
            found.append((source, path))
    return found


@dataclass(frozen=True)
class _Remote:
    """A source beyond this machine.

    Attributes:
        cached: its file in the cache, if it is there.
        fetch: bring it into the cache; given True, in place of what is there.
        note: where it is noted that a file was hashed.
    """

    cached: Callable[[], Path | None]
    fetch: Callable[[bool], Path]
    note: Callable[[Path], Path]


def _remote(source: str, cfg: PretrainedCfg, cache_dir: str | os.PathLike | None) -> _Remote:
    if match := _HUB_SOURCE.fullmatch(source):
        repo, commit, file = match["repo"], match["commit"], match["file"]
        return _Remote(
            lambda: hub.cached(repo, commit, file, cache_dir),
            lambda force_download: hub.fetch(
                repo, commit, file, cache_dir, force_download=force_download, size=cfg.size
            ),
            # cache/models--org--repo/snapshots/COMMIT/FILE: beside the snapshots, where the client does not look.
            lambda path: path.parents[2] / "verified" / commit / f"{file}.json",
        )
    if _WEB_SOURCE.fullmatch(source):
        place = hub.cache_path(source, cfg.sha256, cache_dir)
        return _Remote(
            lambda: place if place.is_file() else None,
            lambda force_download: hub.download(source, place, cfg.sha256, cfg.size),
            lambda path: path.with_name(f"{path.name}.verified.json"),
        )
    raise ValueError(
        "a source is bundled:FILE, hf-hub:org/repo@<40-hex commit>/FILE.safetensors or https://HOST/FILE.safetensors"
    )


def _checked(path: Path, cfg: PretrainedCfg) -> Path:
    if not path.is_file():
        raise ValueError(f"there is no file {path}: reinstall gatezoo, or mend the folder")
    verify(path, cfg)
    return path


def _fetch_verified(remote: _Remote, cfg: PretrainedCfg) -> Path:
    path = remote.cached() or remote.fetch(False)
    note = remote.note(path)
    if is_cached(note, path, cfg.sha256):
        return path
    stamp = file_signature(path)
    try:
        verify(path, cfg)
    except ValueError:
        # The Hub's client looks at the size alone.
        path = remote.fetch(True)
        stamp = file_signature(path)
        try:
            verify(path, cfg)
        except ValueError:
            hub.delete_cached(path)
            raise
    store_digest(note, stamp, cfg.sha256)
    return path


def local_file(source: str) -> Path | None:
    """The file of a ``bundled:FILE`` or ``local-dir:PATH`` source; None for a source of another kind."""
    scheme, _, name = source.partition(":")
    return {"bundled": BUNDLED / name, "local-dir": Path(name)}.get(scheme)
