"""Serve the page on this machine, or within a Space of the Hub."""

from __future__ import annotations

import atexit
import ipaddress
import logging
import os
import shutil
import socket
import tempfile
from collections.abc import Mapping, Sequence
from typing import Any

from ..utils.optional import require_extra
from ..utils.text import first_line
from .image_file import MAX_BYTES
from .models import ModelStore, offered

_log = logging.getLogger("gatezoo")

# Visitors whose images are kept in memory at a time; the page forgets those who came first.
_VISITORS = 32


def serve(
    names: Sequence[str] | Mapping[str, str] = (),
    host: str | None = "127.0.0.1",
    port: int | None = 7860,
    *,
    share: bool = False,
    only: bool = False,
    device: str = "auto",
    title: str = "gatezoo",
    block: bool = True,
) -> Any:
    """Serve the page until it is interrupted.

    Whoever can open the page can run it. If that is only this machine, any network can be named, files and repositories
    of the Hub among them; else only ``names`` and published weights.

    Args:
        names: networks to offer first, or only; with the titles to show as values of a mapping.
        host, port: address; None: what the variables GRADIO_SERVER_NAME and GRADIO_SERVER_PORT say.
        share: also make a public address, through a server of Gradio.
        only: offer ``names`` and no others.
        device: that networks run on.
        title: of the page.
        block: wait for the end; else return the running page, whose ``close()`` ends it.

    Raises:
        ValueError: Gradio is not installed, a host or port that cannot be used, or no network to offer.
    """
    require_extra("app", "the page", "gradio")
    if port is not None and not 0 < port < 65536:
        raise ValueError(f"port must be in 1 .. 65535; got {port}: 7860 is usual")
    if only and not names:
        raise ValueError("names must be given if only they are offered; got none")
    titles = dict(names) if isinstance(names, Mapping) else {}
    if host is not None and port is not None:
        _check_address(host, port)
    store = ModelStore(list(names) if only else offered(names), only or share or not _is_local(host), device)
    folder = tempfile.mkdtemp(prefix="gatezoo-app-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    # Read when Gradio makes the page: uploads lie in this folder until they are read.
    os.environ |= {"GRADIO_TEMP_DIR": folder, "GRADIO_ANALYTICS_ENABLED": "False"}
    return _launch(store, titles, title, host, port, share, block)


def _launch(
    store: ModelStore,
    titles: Mapping[str, str],
    title: str,
    host: str | None,
    port: int | None,
    share: bool,
    block: bool,
) -> Any:
    from .page import build_page
    from .style import CSS

    page = build_page(store, titles, title)
    try:
        page.launch(
            server_name=host,
            server_port=port,
            share=share,
            max_file_size=MAX_BYTES,
            state_session_capacity=_VISITORS,
            css=CSS,
            footer_links=[],
            ssr_mode=False,
            show_error=True,
            mcp_server=False,
            quiet=True,
            prevent_thread_lock=True,
        )
    except OSError as error:  # of an address that Gradio took from the environment
        raise _unusable(host, port, error) from None
    _log.info("the page is at %s%s; Ctrl+C ends it", page.local_url, f" and {page.share_url}" if share else "")
    if block:
        page.block_thread()
    return page


def _check_address(host: str, port: int) -> None:
    """Raise ValueError for an address that cannot be served at, about which the server would print a traceback."""
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.create_server(address, family=family):
            pass
    except (OSError, UnicodeError) as error:
        raise _unusable(host, port, error) from None


def _unusable(host: str | None, port: int | None, error: Exception) -> ValueError:
    return ValueError(
        f"host and port must be free and this machine's; {host}:{port} cannot be used "
        f"({first_line(error)}): pass another --port or --host"
    )


def _is_local(host: str | None) -> bool:
    """Return whether only this machine can reach a host."""
    host = host or os.environ.get("GRADIO_SERVER_NAME", "127.0.0.1")
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
