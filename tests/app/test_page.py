"""The page on a port of this machine, without a browser."""

import socket
import subprocess
import sys
import urllib.request
from urllib.error import HTTPError

import pytest
from helpers.commands import run
from helpers.pages import free_port

from gatezoo.app import serve
from gatezoo.app.jobs import Stopped
from gatezoo.utils import optional


def test_nothing_imports_gradio_before_the_page_is_served():
    code = "import sys, gatezoo, gatezoo.cli.app, gatezoo.app\nassert not {'gradio', 'torch'} & sys.modules.keys()\n"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_missing_extra_is_reported_in_one_line(monkeypatch, capsys):
    real = optional.find_spec
    monkeypatch.setattr(optional, "find_spec", lambda name: None if name == "gradio" else real(name))
    code, out, err = run(monkeypatch, capsys, "app")
    assert (code, out) == (2, "")
    assert err == 'gatezoo: the page needs the package gradio: run pip install "gatezoo[app]"\n'


def test_port_in_use_is_reported_in_one_line(monkeypatch, capsys):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        code, _, err = run(monkeypatch, capsys, "app", "--port", port)
    assert code == 2
    (line,) = err.strip().splitlines()
    assert f"127.0.0.1:{port} cannot be used (" in line
    assert "pass another --port" in line


@pytest.mark.parametrize("host", ["../..", "no such host", "203.0.113.1", "a" * 300])
def test_host_that_cannot_be_served_at_is_reported_in_one_line(monkeypatch, capsys, host):
    code, _, err = run(monkeypatch, capsys, "app", "--host", host, "--port", free_port())
    assert code == 2
    (line,) = err.strip().splitlines()
    assert line.startswith("gatezoo: host and port must be free and this machine's; ")


def test_page_calls_no_other_host_offers_no_interface_and_bounds_uploads():
    page = serve(port=free_port(), block=False)
    try:
        html = urllib.request.urlopen(page.local_url).read().decode()
        loaded = [part for part in html.split("<") if part.startswith(("script", "link")) and "://" in part]
        assert all(f"://127.0.0.1:{page.server_port}" in part for part in loaded), loaded
        with urllib.request.urlopen(f"{page.local_url}gradio_api/info") as answer:
            assert b'"named_endpoints":{}' in answer.read().replace(b" ", b"")
        assert page.config["analytics_enabled"] is False
        body = b'--x\r\nContent-Disposition: form-data; name="files"; filename="a.png"\r\n\r\n' + b"0" * 20_100_000
        request = urllib.request.Request(f"{page.local_url}gradio_api/upload", body + b"\r\n--x--\r\n")
        request.add_header("Content-Type", "multipart/form-data; boundary=x")
        with pytest.raises(HTTPError) as error:
            urllib.request.urlopen(request)
        assert error.value.code == 413
    finally:
        page.close()


def test_faults_are_answered_with_one_line(monkeypatch, caplog):
    import gradio as gr

    from gatezoo.app.answers import answered

    def message_of(error):
        def fail():
            raise error

        with pytest.raises(gr.Error) as found:
            answered(fail)()
        assert found.value.print_exception is False
        return found.value.message

    assert (
        message_of(ValueError("x must be\n <b>1</b>; got {2}")) == "x must be &lt;b&gt;1&lt;/b&gt;; got &#123;2&#125;"
    )
    assert message_of(Stopped()) == "The work was stopped."
    assert message_of(MemoryError()) == "the computation must fit into memory, and did not: use a smaller image"
    assert message_of(KeyError("k")) == "something failed that must not, please report it: KeyError: &#x27;k&#x27;"
    (record,) = caplog.records
    assert record.exc_info is None or record.exc_info is False
    assert answered(lambda value: value + 1)(2) == 3
