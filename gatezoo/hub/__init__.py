"""Client of the Hugging Face Hub and of plain https servers. The only importer of huggingface_hub.

A cached file at a pinned commit needs no request. Before a download the Hub is asked for the file's metadata with a
short timeout: an unreachable Hub is an error within seconds, where the Hub's own client would retry for half a minute.
"""

from .cache import MAX_SMALL_FILE, cache_folder, cached, delete_cached
from .download import fetch, resolve
from .https import cache_path, download
from .upload import upload

__all__ = [
    "MAX_SMALL_FILE",
    "cache_folder",
    "cache_path",
    "cached",
    "delete_cached",
    "download",
    "fetch",
    "resolve",
    "upload",
]
