"""Client of the Hugging Face Hub and of plain https servers. The only importer of huggingface_hub.

A cached file at a pinned commit needs no request. A download has a budget of five seconds until its first byte and a
minimum rate from then on, where the Hub's own client would retry for minutes; what it writes is that client's cache.
"""

from .cache import MAX_SMALL_FILE, cache_folder, cached, delete_cached
from .download import fetch, resolve
from .https import cache_path, check_reachable, download
from .upload import require_token, upload

__all__ = [
    "MAX_SMALL_FILE",
    "cache_folder",
    "cache_path",
    "cached",
    "check_reachable",
    "delete_cached",
    "download",
    "fetch",
    "require_token",
    "resolve",
    "upload",
]
