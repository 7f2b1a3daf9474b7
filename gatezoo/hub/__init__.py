"""The Hugging Face Hub: fetch files, upload folders; files of other servers. Alone in importing huggingface_hub.

What is cached and pinned to a commit costs no request. Before a download the hub is asked once and briefly, so that
one that does not answer is told within seconds: the client alone would go on asking for half a minute.
"""

from .download import cached, fetch, forget, resolve
from .errors import SMALL, cache_folder
from .https import download, place_of
from .upload import upload

__all__ = ["SMALL", "cache_folder", "cached", "download", "fetch", "forget", "place_of", "resolve", "upload"]
