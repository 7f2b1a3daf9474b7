"""The Hugging Face Hub: fetch files, upload folders; files of other servers. Alone in importing huggingface_hub.

What is cached and pinned to a commit costs no request. Before a download the hub is asked once and briefly, so that
one that does not answer is told within seconds: the client alone would go on asking for half a minute.
"""

from .answers import SMALL, cache_folder
from .plain import download, place_of
from .pulling import cached, fetch, forget, resolve
from .sending import upload

__all__ = ["SMALL", "cache_folder", "cached", "download", "fetch", "forget", "place_of", "resolve", "upload"]
