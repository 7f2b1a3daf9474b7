"""List and delete what the cache holds: snapshots of repositories, files of https servers, and partial files."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import re
import shutil
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import scan_cache_dir
from huggingface_hub.errors import CacheNotFound
from huggingface_hub.utils import CachedRepoInfo, HFCacheInfo

from .cache import cache_folder

# What a download is called until it is complete, see :mod:`.stream`; those of the Hub's own client have other names.
_PARTIAL = re.compile(r"[0-9a-f]{16}\.incomplete")
# Seconds without a byte after which a partial file belongs to no download any more.
_MAX_SILENCE = 60.0
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Snapshot:
    """Files of one commit of a repository in the cache.

    Attributes:
        repo: ``org/name``.
        commit: 40 hex digits.
        files: path of each file by its name.
        has_ref: whether a branch or tag led to it.
        has_notes: whether this package noted the digest of one of the repository's files.
        is_busy: whether another process downloads a file of the repository.
    """

    repo: str
    commit: str
    files: dict[str, Path]
    has_ref: bool
    has_notes: bool
    is_busy: bool


def list_snapshots(cache_dir: str | os.PathLike | None = None) -> list[Snapshot]:
    """Return the snapshots of all models in the cache, also those of other libraries; none without a cache."""
    return [
        Snapshot(
            repo.repo_id,
            revision.commit_hash,
            {file.file_path.relative_to(revision.snapshot_path).as_posix(): file.file_path for file in revision.files},
            bool(revision.refs),
            (repo.repo_path / "verified").is_dir(),
            any(not _is_abandoned(path) for path in repo.repo_path.glob("blobs/*.incomplete")),
        )
        for repo in _models(_scan(cache_dir))
        for revision in sorted(repo.revisions, key=lambda revision: revision.commit_hash)
    ]


def list_web_files(cache_dir: str | os.PathLike | None = None) -> list[tuple[str, Path]]:
    """Return (sha256, file) of the weights that came from https servers."""
    found = cache_folder(cache_dir).glob("gatezoo/*/*.safetensors")
    return [(path.parent.name, path) for path in sorted(found) if _is_web_folder(path.parent)]


def delete_snapshots(
    snapshots: Iterable[Snapshot], cache_dir: str | os.PathLike | None = None, dry_run: bool = False
) -> int:
    """Delete snapshots, with the files that no other snapshot has, and return the bytes freed.

    Raises:
        ValueError: a file cannot be deleted.
    """
    info, freed = _scan(cache_dir), 0
    by_repo: dict[str, set[str]] = {}
    for snapshot in snapshots:
        by_repo.setdefault(snapshot.repo, set()).add(snapshot.commit)
    for repo in _models(info):
        if info and (commits := by_repo.get(repo.repo_id)):
            # Of this repository alone: the client looks for commits in all.
            strategy = dataclasses.replace(info, repos=frozenset({repo})).delete_revisions(*sorted(commits))
            freed += strategy.expected_freed_size
            if not dry_run:
                strategy.execute()
                for commit in commits:
                    if _is_inside(notes := repo.repo_path / "verified" / commit, repo.repo_path):
                        shutil.rmtree(notes, ignore_errors=True)
                    _require_gone(repo.repo_path / "snapshots" / commit)
    return freed


def delete_web_file(path: Path, dry_run: bool = False) -> int:
    """Delete a file that came from an https server, its note and their empty folder, and return the bytes freed.

    Raises:
        ValueError: it cannot be deleted.
    """
    note = path.with_name(f"{path.name}.verified.json")
    freed = sum(delete_file(file, dry_run) for file in (path, note) if file.exists())
    if not dry_run:
        with contextlib.suppress(OSError):  # unless it holds another file
            path.parent.rmdir()
    return freed


def list_partial_files(cache_dir: str | os.PathLike | None = None) -> list[Path]:
    """Return what interrupted downloads of this package left: partial files that did not grow for a minute."""
    folder = cache_folder(cache_dir)
    patterns = ("models--*/blobs/*.incomplete", "models--*/snapshots/*/*.incomplete", "gatezoo/*/*.incomplete")
    found = sorted(path for pattern in patterns for path in folder.glob(pattern) if _PARTIAL.fullmatch(path.name))
    return [path for path in found if _is_inside(path.parent, folder) and _is_abandoned(path)]


def delete_file(path: Path, dry_run: bool = False) -> int:
    """Delete one file, or the link that it is, and return the bytes freed.

    Raises:
        ValueError: it cannot be deleted.
    """
    freed = path.lstat().st_size
    if not dry_run:
        try:
            path.unlink(missing_ok=True)
        except OSError:
            _require_gone(path)
    return freed


def _scan(cache_dir: str | os.PathLike | None) -> HFCacheInfo | None:
    try:
        return scan_cache_dir(cache_folder(cache_dir))
    except CacheNotFound:
        return None


def _models(info: HFCacheInfo | None) -> list[CachedRepoInfo]:
    """Return the models of a cache, by name, without those that have a file or are themselves elsewhere."""
    return [
        repo
        for repo in sorted(info.repos if info else (), key=lambda repo: repo.repo_id)
        if repo.repo_type == "model"
        and not repo.repo_path.is_symlink()
        and all(
            _is_inside(revision.snapshot_path, repo.repo_path)
            # The blob itself may be a link, and is deleted as such.
            and all(_is_inside(file.blob_path.parent, repo.repo_path) for file in revision.files)
            for revision in repo.revisions
        )
    ]


def _is_abandoned(partial: Path) -> bool:
    """Return whether a partial file did not grow for a minute, or is gone."""
    try:
        return partial.lstat().st_mtime < time.time() - _MAX_SILENCE
    except OSError:
        return True


def _is_web_folder(path: Path) -> bool:
    return bool(_SHA256.fullmatch(path.name)) and not path.is_symlink() and not path.parent.is_symlink()


def _is_inside(path: Path, folder: Path) -> bool:
    """Return whether a path is in a folder, whatever links lead to it."""
    return path.resolve().is_relative_to(folder.resolve())


def _require_gone(path: Path) -> None:
    if path.exists() or path.is_symlink():
        raise ValueError(f"the cache must be writable to remove {path}; it is not: change its permissions")
