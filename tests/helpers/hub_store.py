"""What the hub of the tests keeps: bytes by their digests, commits and refs; and the faults it is told to make."""

from __future__ import annotations

import hashlib
import json
import time
from dataclasses import dataclass, field
from urllib.parse import unquote


@dataclass
class Blob:
    """Bytes of a file. A large one is known by its sha256, any other as git knows it."""

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
    """Commits (each the files of its tree), and refs, which name commits."""

    private: bool = False
    commits: dict[str, dict[str, Blob]] = field(default_factory=dict)
    refs: dict[str, str] = field(default_factory=dict)

    def commit(self, files: dict[str, Blob], ref: str = "main") -> str:
        told = json.dumps([self.refs.get(ref), ref, {path: blob.sha256 for path, blob in files.items()}, time.time()])
        oid = hashlib.sha1(told.encode()).hexdigest()
        self.commits[oid], self.refs[ref] = dict(files), oid
        return oid

    def resolve(self, revision: str) -> str | None:
        revision = unquote(revision)
        return revision if revision in self.commits else self.refs.get(revision.removeprefix("refs/heads/"))


@dataclass
class Fault:
    """What happens to the next ``times`` requests whose method and path match."""

    method: str
    pattern: str
    times: int
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    truncate: bool = False
    corrupt: bool = False
    delay: float = 0.0


def is_large(path: str, size: int) -> bool:
    """Whether a file is kept as a large one, as the Hub's own settings say."""
    return path.endswith((".safetensors", ".bin", ".pth", ".png")) or size > 10_000_000
