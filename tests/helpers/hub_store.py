"""Storage of the loopback hub: bytes by their digests, commits and refs; and the faults to inject."""

from __future__ import annotations

import hashlib
import json
import time
from dataclasses import dataclass, field
from urllib.parse import unquote


@dataclass
class Blob:
    """Bytes of a file, identified by their sha256 if it is large, else by their git object id."""

    data: bytes
    large: bool

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.data).hexdigest()

    @property
    def git_oid(self) -> str:
        return hashlib.sha1(b"blob %d\0" % len(self.data) + self.data).hexdigest()

    @property
    def etag(self) -> str:
        return self.sha256 if self.large else self.git_oid


@dataclass
class Repo:
    """Commits, each with the files of its tree, and refs, which name commits."""

    private: bool = False
    commits: dict[str, dict[str, Blob]] = field(default_factory=dict)
    refs: dict[str, str] = field(default_factory=dict)

    def commit(self, files: dict[str, Blob], ref: str = "main") -> str:
        content = json.dumps(
            [self.refs.get(ref), ref, {path: blob.sha256 for path, blob in files.items()}, time.time()]
        )
        oid = hashlib.sha1(content.encode()).hexdigest()
        self.commits[oid], self.refs[ref] = dict(files), oid
        return oid

    def resolve(self, revision: str) -> str | None:
        revision = unquote(revision)
        return revision if revision in self.commits else self.refs.get(revision.removeprefix("refs/heads/"))


@dataclass
class Fault:
    """A fault of the next ``times`` requests whose method and path match."""

    method: str
    pattern: str
    times: int
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    truncate: bool = False
    corrupt: bool = False
    delay: float = 0.0


def is_large(path: str, size: int) -> bool:
    """Return whether a file is stored as a large one, by the Hub's own rules."""
    return path.endswith((".safetensors", ".bin", ".pth", ".png")) or size > 10_000_000
