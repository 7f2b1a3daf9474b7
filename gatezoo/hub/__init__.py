"""Client of the Hugging Face Hub and of plain https servers.

A cached file at a pinned commit needs no request. A download has a budget of five seconds until its first byte and a
minimum rate from then on, where the Hub's own client would retry for minutes; what it writes is that client's cache.
"""

from .cache import MAX_SMALL_FILE, cache_folder, cached, delete_cached, matches_digest
from .download import fetch, resolve
from .errors import check_repo
from .https import cache_path, check_reachable, download
from .stored import (
    Snapshot,
    delete_file,
    delete_snapshots,
    delete_web_file,
    list_partial_files,
    list_snapshots,
    list_web_files,
)
from .upload import check_upload, require_token, stored_digests, upload

__all__ = [
    "MAX_SMALL_FILE",
    "Snapshot",
    "cache_folder",
    "cache_path",
    "cached",
    "check_reachable",
    "check_repo",
    "check_upload",
    "delete_cached",
    "delete_file",
    "delete_snapshots",
    "delete_web_file",
    "download",
    "fetch",
    "list_partial_files",
    "list_snapshots",
    "list_web_files",
    "matches_digest",
    "require_token",
    "resolve",
    "stored_digests",
    "upload",
]
