"""Loopback server with the protocol of the Hugging Face Hub, for tests with the real client.

It uses the standard library alone. It stores bytes by their digests, commits and refs, has users and private
repositories, injects faults on request, and logs every request::

    with LoopbackHub() as hub:
        hub.fail("GET", r"/resolve/", status=503, times=1)
        ...
        assert hub.counted() == ["HEAD /org/net/resolve/main/config.json", ...]
"""

from __future__ import annotations

import contextlib
import socket
import threading
from http.server import ThreadingHTTPServer

from helpers.hub_requests import Handler
from helpers.hub_store import Blob, Fault, Repo, is_large

OWNER = "hf_owner"


class LoopbackHub:
    """Server on a free port, running until ``close``.

    Attributes:
        url: value of ``HF_ENDPOINT``.
        repos: by ``org/name``.
        requests: "METHOD /path" of every request, in order.
        tokens: names of the user and organizations that a token may write to.
        cards: the model cards that were uploaded for validation.
    """

    def __init__(self):
        self.repos: dict[str, Repo] = {}
        self.objects: dict[str, Blob] = {}
        self.requests: list[str] = []
        self.tokens = {OWNER: ["owner", "org"], "hf_reader": ["reader"]}
        self.cards: list[str] = []
        self.faults: list[Fault] = []
        self.lock = threading.RLock()
        self.sockets: set[socket.socket] = set()
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (Handler,), {"hub": self}))
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def __enter__(self) -> LoopbackHub:
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def close(self) -> None:
        """Stop the server and cut connections that were kept alive."""
        self.server.shutdown()
        self.server.server_close()
        for kept in list(self.sockets):
            with contextlib.suppress(OSError):
                kept.shutdown(socket.SHUT_RDWR)

    def fail(self, method: str, pattern: str, times: int = 1, **fault) -> None:
        """Make the next ``times`` matching requests fail: ``status=503``, ``truncate=True``, ``corrupt=True``."""
        with self.lock:
            self.faults.append(Fault(method, pattern, times, **fault))

    def put(self, repo: str, files: dict[str, bytes], private: bool = False) -> str:
        """Commit files directly, without HTTP, and return the commit."""
        stored = self.repos.setdefault(repo, Repo(private))
        before = stored.commits.get(stored.refs.get("main", ""), {})
        return stored.commit(before | {path: Blob(data, is_large(path, len(data))) for path, data in files.items()})

    def counted(self, *methods: str) -> list[str]:
        """Return the logged requests of these methods, without the one that the client makes once a day."""
        wanted = [request for request in self.requests if "agent-harnesses" not in request]
        return [request for request in wanted if not methods or request.split()[0] in methods]
