"""A server that answers one request as planned, and a session of the Hub's client whose https requests stay here."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable
from email.utils import formatdate
from typing import Any

from huggingface_hub import get_session

COMMIT, HOST = "c" * 40, "https://files.test"
Plan = Callable[["Answer"], None]


class Answer:
    """One request that was read, and the ways to answer it.

    Attributes:
        method: of the request.
        data: the file that is asked for.
        headers: of a faultless answer.
    """

    def __init__(self, connection: socket.socket, method: str, data: bytes, etag: str):
        self.connection, self.method, self.data = connection, method, data
        self.headers = {"X-Repo-Commit": COMMIT, "ETag": f'"{etag}"', "Content-Length": str(len(data))}

    def send(self, status: int = 200, body: bytes | None = None, **headers: str | None) -> None:
        """Send an answer; a header that is None is left out."""
        body = (self.data if status == 200 else b"") if body is None else body
        fields = {**self.headers, "Connection": "close", **{key.replace("_", "-"): v for key, v in headers.items()}}
        if status != 200:
            fields = {key: v for key, v in fields.items() if key not in self.headers} | {"Content-Length": "0"}
        lines = [f"HTTP/1.1 {status} Planned", *(f"{key}: {v}" for key, v in fields.items() if v is not None), "", ""]
        self.connection.sendall("\r\n".join(lines).encode() + (body if self.method == "GET" else b""))

    def drip(self, data: bytes, seconds: float = 0.02) -> None:
        """Send byte by byte until the client has gone."""
        for value in data:
            self.connection.sendall(bytes([value]))
            time.sleep(seconds)


class FaultServer:
    """Server that answers GET or HEAD with faults; ``requests`` has method, path and token of each request."""

    def __init__(self, data: bytes, etag: str):
        self.data, self.etag = data, etag
        self.plans: dict[str, Plan] = {}
        self.requests: list[tuple[str, str, str | None]] = []
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.socket.getsockname()[1]}"
        self.closed = threading.Event()
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        """Stop: connections end, and what waits goes on."""
        self.closed.set()
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)  # without which the thread goes on accepting, of whatever is next
        self.socket.close()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self.socket.accept()
                threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError), connection:
            text = b""
            while b"\r\n\r\n" not in text:
                if not (part := connection.recv(65536)):
                    return
                text += part
            line, *fields = text.decode().split("\r\n")
            method, path, _ = line.split()
            token = next((f.partition(": ")[2] for f in fields if f.lower().startswith("authorization:")), None)
            self.requests.append((method, path, token))
            self.plans.get(method, Answer.send)(Answer(connection, method, self.data, self.etag))


class LocalSession:
    """The session of the Hub's client, but for https requests to ``HOST``, which go to a server on this machine."""

    def __init__(self, url: str):
        self.url, self.session = url, get_session()

    def build_request(self, method: str, url: str, **options: Any) -> Any:
        """Return a request to the local server."""
        return self.session.build_request(method, url.replace(HOST, self.url), **options)

    def send(self, request: Any, **options: Any) -> Any:
        """Send a request."""
        return self.session.send(request, **options)


def http_date(seconds: float) -> str:
    """Return the date of a time from now, as HTTP writes it."""
    return formatdate(time.time() + seconds, usegmt=True)
