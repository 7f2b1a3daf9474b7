"""Check and prune the weights on this machine: bundled, and downloaded to the cache. No torch."""

from __future__ import annotations

import json
import os
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from .. import hub, pretrained
from ..pretrained import PretrainedCfg
from ..registry import is_model
from .integrity import sha256_of, verify
from .sources import HubSource, Source, list_local_files

CONFIG = "config.json"


@dataclass(frozen=True)
class Checked:
    """Result for one file of weights, or for weights that are not on this machine.

    Attributes:
        name: ``architecture.tag``; of a download that the manifest does not name, its source.
        source: where the file is from; "" if there is none.
        file: its path; None if there is none.
        error: what is wrong with it; "" for nothing.
        fix: what to do about it.
    """

    name: str
    source: str = ""
    file: Path | None = None
    error: str = ""
    fix: str = ""

    @property
    def state(self) -> str:
        """Whether it is "intact", "damaged" or "missing"."""
        return "missing" if self.file is None else "damaged" if self.error else "intact"


@dataclass(frozen=True)
class Removal:
    """A download that can be removed.

    Attributes:
        what: the file or snapshot.
        reason: why.
        size: bytes that are freed.
    """

    what: str
    reason: str
    size: int


def check_entry(cfg: PretrainedCfg, cache_dir: str | os.PathLike | None = None) -> Iterator[Checked]:
    """Hash each file of a manifest entry that is on this machine; one result "missing" if there is none."""
    files = list_local_files(cfg, cache_dir)
    for source, path in files:
        fix = (
            "reinstall gatezoo"
            if source.startswith("bundled:")
            else f"'gatezoo weights download {cfg.name}' replaces it"
        )
        try:
            verify(path, cfg)
            yield Checked(cfg.name, source, path)
        except (OSError, ValueError) as error:
            yield Checked(cfg.name, source, path, str(error), fix)
    if not files:
        yield Checked(cfg.name)


def check_other_downloads(cache_dir: str | os.PathLike | None = None) -> Iterator[Checked]:
    """Hash the downloads of this package that the manifest does not name: of ``hf-hub:`` models, and old ones."""
    named = _named_commits()
    for snapshot in hub.list_snapshots(cache_dir):
        config = _config(snapshot)
        if (snapshot.repo, snapshot.commit) in named or not (config or _is_ours(snapshot, cache_dir)):
            continue
        for name, path in sorted(snapshot.files.items()):
            digest = str(config["sha256"]) if config else path.resolve().name
            if name.endswith(".safetensors") and re.fullmatch(r"[0-9a-f]{64}", digest):
                source = f"hf-hub:{snapshot.repo}@{snapshot.commit}/{name}"
                yield _check_digest(source, path, digest)
    known = {cfg.sha256 for cfg in pretrained.manifest().values()}
    for sha256, path in hub.list_web_files(cache_dir):
        if sha256 not in known:
            yield _check_digest(str(path), path, sha256)


def prune(cache_dir: str | os.PathLike | None = None, dry_run: bool = False) -> Iterator[Removal]:
    """Remove what the manifest does not name any more, and the partial files of interrupted downloads.

    What the manifest names is downloaded at a commit, weights alone. A model of the user's own choice
    (``hf-hub:ORG/REPO``) has a config, or a branch that led to it; it is kept, as are downloads of other programs.

    Args:
        cache_dir: folder of downloads.
        dry_run: remove nothing.

    Raises:
        ValueError: a file cannot be removed.
    """
    for path in hub.list_partial_files(cache_dir):
        yield Removal(str(path), "partial download", hub.delete_file(path, dry_run))
    named, old = _named_commits(), defaultdict(list)
    for snapshot in hub.list_snapshots(cache_dir):
        weights_alone = {Path(name).suffix for name in snapshot.files} == {".safetensors"}
        is_named = snapshot.has_ref or (snapshot.repo, snapshot.commit) in named
        if weights_alone and not is_named and not snapshot.is_busy and _is_ours(snapshot, cache_dir):
            old[snapshot.repo].append(snapshot)
    for repo, snapshots in old.items():  # together, since they may share files
        commits = ", ".join(snapshot.commit for snapshot in snapshots)
        size = hub.delete_snapshots(snapshots, cache_dir, dry_run)
        yield Removal(f"hf-hub:{repo}@{commits}", "not in the manifest", size)
    kept = {hub.cache_path(url, sha256, cache_dir) for url, sha256 in _named_addresses()}
    for _, path in hub.list_web_files(cache_dir):
        if path not in kept:
            yield Removal(str(path), "not in the manifest", hub.delete_web_file(path, dry_run))


def _check_digest(source: str, path: Path, sha256: str) -> Checked:
    fix = "remove it, and it is downloaded again when it is used"
    try:
        digest = sha256_of(path)
    except OSError as error:
        return Checked(source, source, path, error.strerror or str(error), fix)
    if digest != sha256:
        return Checked(source, source, path, f"{path} must have sha256 {sha256}; it has {digest}", fix)
    return Checked(source, source, path)


def _sources() -> Iterable[tuple[PretrainedCfg, str]]:
    return ((cfg, source) for cfg in pretrained.manifest().values() for source in cfg.sources)


def _named_commits() -> set[tuple[str, str]]:
    """Return repository and commit of each source of the manifest that is on the Hub."""
    parsed = (Source.parse(source) for _, source in _sources())
    return {(source.repo, source.commit) for source in parsed if isinstance(source, HubSource)}


def _named_addresses() -> Iterator[tuple[str, str]]:
    """Yield address and sha256 of each source of the manifest that is on another server."""
    for cfg, source in _sources():
        if source.startswith("https:"):
            yield source, cfg.sha256


def _is_ours(snapshot: hub.Snapshot, cache_dir: str | os.PathLike | None) -> bool:
    """Return whether this package downloaded a snapshot; in a cache that other programs use, it must look like that."""
    own_cache = bool(cache_dir or os.environ.get("GATEZOO_CACHE"))
    known = {repo for repo, _ in _named_commits()}
    architecture = snapshot.repo.rpartition("/")[2].partition(".")[0]
    return own_cache or snapshot.repo in known or snapshot.has_notes or is_model(architecture)


def _config(snapshot: hub.Snapshot) -> dict[str, object] | None:
    """Return the config of the weights in a snapshot of a model folder of this package; None for any other."""
    try:
        config = json.loads(snapshot.files[CONFIG].read_text(encoding="utf-8"))
        cfg = config["pretrained_cfg"]
        return cfg if config["library_name"] == "gatezoo" and isinstance(cfg["sha256"], str) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None
