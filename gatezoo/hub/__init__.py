"""The Hugging Face Hub: fetch files, upload folders; files of other servers. Alone in importing huggingface_hub.

What is cached and pinned to a commit costs no request. Before a download the hub is asked once and briefly, so that
one that does not answer is told within seconds: the client alone would go on asking for half a minute.
"""

from .download import cached, delete_cached, fetch, resolve
from .errors import MAX_SMALL_FILE, cache_folder
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
