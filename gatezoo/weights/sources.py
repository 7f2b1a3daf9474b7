"""Resolve an entry of the manifest to a local file with the right sha256, from any of its sources."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path

from .. import hub
from ..pretrained import BUNDLED, PretrainedCfg
from ..pretrained.rules import match_source
from .digest_cache import file_signature, is_cached, store_digest
from .integrity import verify


class Source(ABC):
    """A place that weights come from; :meth:`parse` reads its notation, ``scheme:rest``."""

    @staticmethod
    def parse(text: str) -> Source:
        """Return the source of a string.

        Raises:
            ValueError: a string of another form.
        """
        scheme, match = match_source("a source", text)
        if scheme == "bundled":
            return BundledSource(BUNDLED / match["file"])
        if scheme == "local-dir":
            return FolderSource(Path(match["path"]))
        return HubSource(**match.groupdict()) if scheme == "hf-hub" else UrlSource(text)

    @abstractmethod
    def cached(self, cfg: PretrainedCfg, cache_dir: str | os.PathLike | None) -> Path | None:
        """Return the file if it is on this machine, unchecked; there is no request."""

    @abstractmethod
    def fetch(self, cfg: PretrainedCfg, cache_dir: str | os.PathLike | None, force: bool) -> Path:
        """Return the file, checked; ``force`` replaces one that is cached.

        Raises:
            ValueError: the source does not have the file.
        """

    def digest_note(self, path: Path) -> Path | None:
        """Return where the digest of a cached file is noted, see :mod:`.digest_cache`; None: it is always hashed."""
        return None


@dataclass(frozen=True)
class FolderSource(Source):
    """A file of a folder of the user's."""

    path: Path

    def cached(self, cfg: PretrainedCfg, cache_dir: str | os.PathLike | None) -> Path | None:
        """Return the file if it exists."""
        return self.path if self.path.is_file() else None

    def fetch(self, cfg: PretrainedCfg, cache_dir: str | os.PathLike | None, force: bool) -> Path:
        """Return the file, checked: it can only be there."""
        if not self.path.is_file():
            raise ValueError(f"the file {self.path} must exist; it does not: reinstall gatezoo, or restore the folder")
        verify(self.path, cfg)
        return self.path


class BundledSource(FolderSource):
    """A file of the installed package."""


@dataclass(frozen=True)
class HubSource(Source):
    """A file of a repository of the Hub at a pinned commit."""

    repo: str
    commit: str
    file: str

    def cached(self, cfg: PretrainedCfg, cache_dir: str | os.PathLike | None) -> Path | None:
        """Return the file of the commit in the cache of the Hub's client."""
        return hub.cached(self.repo, self.commit, self.file, cache_dir)

    def fetch(self, cfg: PretrainedCfg, cache_dir: str | os.PathLike | None, force: bool) -> Path:
        """Download the file."""
        path = hub.fetch(self.repo, self.commit, self.file, cache_dir, force, cfg.size, cfg.sha256)
        # The Hub may know a small file by another digest than its sha256, and then nothing was checked against it.
        if path.resolve().name != cfg.sha256:
            try:
                verify(path, cfg)
            except ValueError:
                hub.delete_cached(path)
                raise
        return path

    def digest_note(self, path: Path) -> Path:
        """Return a path beside the snapshots, where the client does not look."""
        return path.parents[2] / "verified" / self.commit / f"{self.file}.json"


@dataclass(frozen=True)
class UrlSource(Source):
    """A file of an https server."""

    url: str

    def cached(self, cfg: PretrainedCfg, cache_dir: str | os.PathLike | None) -> Path | None:
        """Return the file in the cache, where its folder has the name of its sha256."""
        path = hub.cache_path(self.url, cfg.sha256, cache_dir)
        return path if path.is_file() else None

    def fetch(self, cfg: PretrainedCfg, cache_dir: str | os.PathLike | None, force: bool) -> Path:
        """Download the file; the download is checked."""
        return hub.download(self.url, cfg.sha256, cfg.size, cache_dir)

    def digest_note(self, path: Path) -> Path:
        """Return a path beside the file."""
        return path.with_name(f"{path.name}.verified.json")


def resolve_weights(cfg: PretrainedCfg, cache_dir: str | os.PathLike | None = None) -> Path:
    """Return a local file of the weights, its sha256 checked, from the first source that has it.

    The cache is searched before the network; a cached file at a pinned commit makes no request. A cached file is
    hashed once, and again when its size, times or inode changed; a damaged one is downloaded once more.

    Args:
        cfg: config of the weights.
        cache_dir: folder of downloads; default: the variable ``GATEZOO_CACHE``, else huggingface_hub's own cache.

    Raises:
        ValueError: no source has the file, or its file is not that of the config.
    """
    failures = []
    for text in cfg.sources:
        try:
            source = Source.parse(text)
            path = source.cached(cfg, cache_dir)
            if path and _is_intact(path, cfg, source.digest_note(path)):
                return path
            return source.fetch(cfg, cache_dir, force=path is not None)
        except ValueError as error:
            failures.append(f"{text}: {error}")
    raise ValueError(f"weights {cfg.name} must come from one of their sources; {'; '.join(failures)}")


def list_local_files(cfg: PretrainedCfg, cache_dir: str | os.PathLike | None = None) -> list[tuple[str, Path]]:
    """Return (source, file) of every source that is on this machine, unchecked and without network access."""
    found = ((text, Source.parse(text).cached(cfg, cache_dir)) for text in cfg.sources)
    return [(text, path) for text, path in found if path]


def _is_intact(path: Path, cfg: PretrainedCfg, note: Path | None) -> bool:
    """Return whether a file is that of the config, by its note or by its bytes."""
    if note and is_cached(note, path, cfg.sha256):
        return True
    signature = file_signature(path)
    try:
        verify(path, cfg)
    except ValueError:
        return False
    if note:
        store_digest(note, signature, cfg.sha256)
    return True
