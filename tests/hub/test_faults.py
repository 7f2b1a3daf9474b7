"""Every request of a cold load with every fault: it ends within its budget, with the right line, and leaves nothing."""

import hashlib
import time

import pytest
from helpers.hub_faults import COMMIT, HOST, Answer, FaultServer, LocalSession, http_date
from huggingface_hub import close_session, constants

from gatezoo import hub as client
from gatezoo.hub import retry, stream

FILE = "model.safetensors"
DATA = bytes(range(256)) * 40
SHA256 = hashlib.sha256(DATA).hexdigest()
# Seconds of a budget, one attempt and the window of the rate in these tests, and what a busy machine may add.
BUDGET, ATTEMPT, WINDOW, GRACE = 0.6, 0.25, 0.3, 0.9


def dead(answer):
    time.sleep(8)


def cut(answer):
    answer.connection.close()


def dripping_headers(answer):
    answer.drip(b"HTTP/1.1 200 OK\r\nX: " + b"x" * 400)


def dripping_body(answer):
    answer.send(body=b"")
    answer.drip(DATA)


def stalled_body(answer):
    answer.send(body=DATA[:5000])
    time.sleep(8)


def no_first_byte(answer):
    answer.send(body=b"")
    time.sleep(8)


def status(number, **headers):
    return lambda answer: answer.send(number, **headers)


def body(data=DATA, **headers):
    return lambda answer: answer.send(body=data, **headers)


# Faults of any request: the plan, and what the Hub's message and that of an https server say.
COMMON = {
    "dead": (dead, "reachable; no answer within"),
    "cut": (cut, "reachable; "),
    "dripping headers": (dripping_headers, "reachable; no answer within"),
    "401": (status(401), r"(hub answers|reachable; status) 401"),
    "403": (status(403), r"(hub answers|reachable; status) 403"),
    "404": (status(404), r"(hub answers|reachable; status) 404"),
    "418": (status(418), "was refused by the (hub|server): status 418, Planned"),
    "429": (status(429), "the (hub|server) limits the rate of requests: .* try again later"),
    "500": (status(500), "reachable; status 500:"),
    "502": (status(502), "reachable; status 502:"),
    "503": (status(503), "reachable; status 503:"),
    "429, an hour": (status(429, Retry_After="3600"), "the (hub|server) asks to wait 3600 s: .*HF_TOKEN"),
    "503, an hour": (status(503, Retry_After="3600"), "status 503, the (hub|server) asks to wait 3600 s:"),
    "redirect in a circle": (status(302, Location="/again"), "redirects more than 5 times"),
    "redirect to ftp": (status(302, Location="ftp://files.test/x"), "must stay at https; it redirects to 'ftp:"),
    "redirect to nowhere": (status(302, Location="http://[x"), "(was refused|must be an address|stay at https)"),
}  # fmt: skip
BODY = {
    "dripping": (dripping_body, "reachable; less than 16 kB/s come"),
    "stalled": (stalled_body, f"reachable; less than 16 kB/s come, 5000 of {len(DATA)} bytes"),
    "no first byte": (no_first_byte, "reachable; no answer within"),
    "wrong length": (body(DATA + b"x", Content_Length=str(len(DATA) + 1)), "bytes; the server has 10241: it is not do"),
    "lying length": (body(DATA[:99]), f"reachable; the body ended after 99 of {len(DATA)} bytes"),
    "short, no length": (body(DATA[:99], Content_Length=None), "reachable; the body ended after 99 of"),
    "empty": (body(b"", Content_Length=None), f"reachable; the body ended after 0 of {len(DATA)} bytes"),
    "long, no length": (body(DATA * 99, Content_Length=None), f"must have {len(DATA)} bytes; the server sends more"),
    "other bytes": (body(DATA[::-1]), "must have sha256 .*; the download has other bytes: it is not kept"),
    "compressed": (body(Content_Encoding="gzip"), "must come as it is; the server compresses it"),
}
METADATA = {
    f"ETag {etag[:9]}": (body(ETag=etag), "the ETag of .* must be 40 or 64 hex digits; got")
    for etag in ["", "../../x", "/etc/x", "x", "a" * 41, "A" * 40, '"../' + "a" * 61 + '"']
} | {
    "no commit": (body(X_Repo_Commit=None), "must be a hub; it gives no commit of org/net"),
    "other commit": (body(X_Repo_Commit="d" * 40), "must be at commit c"),
    "commit that is a path": (body(X_Repo_Commit="../x"), "must be a hub; it gives no commit"),
    "length unknown": (body(Content_Length=None), "the hub must give the length"),
    "other sha256": (body(ETag="a" * 64), "must have sha256 .*; the hub has a"),
    "other length": (body(Content_Length="9"), f"must have {len(DATA)} bytes; the hub has 9"),
}
HTTPS = {"redirect to http": (status(302, Location="http://files.test/x"), "must stay at https; it redirects to 'http")}
FAULTS = COMMON | BODY | METADATA | HTTPS
CASES = [
    *(("HEAD", name) for name in COMMON | METADATA),
    *(("branch", name) for name in COMMON),
    *((kind, name) for kind in ("GET", "https") for name in COMMON | BODY),
    *(("https", name) for name in HTTPS),
]


@pytest.fixture
def server(tmp_path, monkeypatch):
    """The server that misbehaves, as the Hub and as an https server, and an empty cache."""
    close_session()
    faulty = FaultServer(DATA, SHA256)
    monkeypatch.setattr(constants, "ENDPOINT", faulty.url)
    monkeypatch.setattr(
        constants, "HUGGINGFACE_CO_URL_TEMPLATE", faulty.url + "/{repo_id}/resolve/{revision}/{filename}"
    )
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setenv("GATEZOO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_TOKEN", "hf_owner")
    yield faulty
    faulty.close()
    close_session()


@pytest.fixture
def hurry(monkeypatch):
    for module, name, value in [
        (retry, "FIRST_BYTE_TIMEOUT", BUDGET), (retry, "ATTEMPT_TIMEOUT", ATTEMPT), (stream, "RATE_WINDOW", WINDOW),
        (retry, "RETRY_DELAYS", (0.02, 0.05, 0.1)),
    ]:  # fmt: skip
        monkeypatch.setattr(module, name, value)


def fetch():
    return client.fetch("org/net", COMMIT, FILE, size=len(DATA), sha256=SHA256)


def files_in(folder):
    return [path for path in folder.rglob("*") if path.is_file() and path.suffix != ".lock"]


CALLS = {
    "HEAD": fetch,
    "GET": fetch,
    "branch": lambda: client.resolve("org/net"),
    "https": lambda: client.download(f"{HOST}/{FILE}", SHA256, len(DATA)),
}


@pytest.mark.parametrize(("kind", "name"), CASES)
def test_fault_ends_within_its_budget_in_one_line_with_nothing_left(server, hurry, tmp_path, monkeypatch, kind, name):
    plan, message = FAULTS[name]
    server.plans["GET" if kind in ("GET", "https") else "HEAD"] = plan
    monkeypatch.setattr(stream, "get_session", lambda: LocalSession(server.url))
    began = time.monotonic()
    with pytest.raises(ValueError, match=message) as caught:
        CALLS[kind]()
    assert time.monotonic() - began < BUDGET + 2 * WINDOW + GRACE
    assert "\n" not in str(caught.value)
    assert "writable" not in str(caught.value)
    assert files_in(tmp_path) == []
    if kind == "https":
        assert all(token is None for _, _, token in server.requests), "the token of the Hub went elsewhere"


@pytest.mark.parametrize("number", [401, 403, 404, 418])
def test_refusal_is_asked_for_once(server, hurry, number):
    server.plans["GET"] = status(number)
    with pytest.raises(ValueError, match=str(number)):
        fetch()
    assert [name for name, *_ in server.requests].count("GET") == 1


@pytest.mark.parametrize("method", ["HEAD", "GET"])
@pytest.mark.parametrize("wait", ["3600", "date"])
def test_wait_beyond_the_budget_is_told_at_once(server, method, wait):
    header = http_date(3600) if wait == "date" else wait
    server.plans[method] = status(429, Retry_After=header)
    began = time.monotonic()
    with pytest.raises(ValueError, match=r"the hub asks to wait (3600|3599) s: "):
        fetch()
    assert time.monotonic() - began < 1
    assert [name for name, *_ in server.requests].count(method) == 1


@pytest.mark.parametrize("method", ["HEAD", "GET"])
def test_wait_within_the_budget_is_kept(server, method):
    answers = [status(429, Retry_After="1"), status(503, Retry_After=http_date(0)), Answer.send]
    server.plans[method] = lambda answer: answers.pop(0)(answer)
    began = time.monotonic()
    assert fetch().read_bytes() == DATA
    assert time.monotonic() - began > 1
    assert answers == []


def test_attempts_waits_and_redirects_share_one_budget(server, hurry, monkeypatch):
    """Each part alone is allowed: metadata after .2 s, redirects of .2 s each."""
    monkeypatch.setattr(retry, "ATTEMPT_TIMEOUT", 9)

    def slow(answer):
        time.sleep(0.2)
        answer.send()

    def slow_redirect(answer):
        time.sleep(0.2)
        answer.send(302, Location=f"/{len(server.requests)}")

    server.plans |= {"HEAD": slow, "GET": slow_redirect}
    began = time.monotonic()
    with pytest.raises(ValueError, match="reachable; no answer within"):
        fetch()
    assert time.monotonic() - began < BUDGET + 0.3
    server.plans["GET"] = slow
    assert fetch().read_bytes() == DATA, "slow within the budget"


def test_body_at_the_least_rate_takes_its_time_and_may_begin_again(server, hurry, monkeypatch):
    def steady(answer):
        answer.send(body=b"")
        for start in range(0, len(DATA) - 1024, 1024):
            answer.connection.sendall(DATA[start : start + 1024])
            time.sleep(0.08)  # 13 kB/s
        steps.append("ended early")
        server.plans["GET"] = Answer.send

    steps = []
    server.plans["GET"] = steady
    monkeypatch.setattr(stream, "MIN_RATE", 8_000)
    began = time.monotonic()
    assert fetch().read_bytes() == DATA
    assert steps == ["ended early"]
    assert time.monotonic() - began > BUDGET


@pytest.mark.parametrize("method", ["HEAD", "GET"])
def test_token_stays_with_the_hub(server, hurry, method):
    """A redirect on the same host keeps it, one to another host or port does not."""
    other = FaultServer(DATA, SHA256)

    def redirect(answer):
        path = server.requests[-1][1]
        answer.send(302, Location=f"{other.url}/cdn" if path == "/moved" else "/moved")

    server.plans[method] = redirect
    assert fetch().read_bytes() == DATA
    other.close()
    assert [request for request in server.requests if request[0] == method][1:] == [
        (method, "/moved", "Bearer hf_owner")
    ]
    assert other.requests == [(method, "/cdn", None)]
    assert {token for _, _, token in server.requests} == {"Bearer hf_owner"}


def test_interrupted_download_leaves_nothing(server, tmp_path, monkeypatch):
    real, calls = stream._next, []

    def interrupted(*arguments):
        calls.append(1)
        if len(calls) > 1:
            assert files_in(tmp_path), "the interrupt came before the download"
            raise KeyboardInterrupt
        return real(*arguments)

    monkeypatch.setattr(stream, "_next", interrupted)
    with pytest.raises(KeyboardInterrupt):
        fetch()
    assert files_in(tmp_path) == []


def test_cache_is_that_of_the_hubs_client(server, tmp_path):
    from huggingface_hub import scan_cache_dir, try_to_load_from_cache

    path = fetch()
    assert str(path) == try_to_load_from_cache("org/net", FILE, tmp_path / "cache", COMMIT)
    assert path.resolve() == tmp_path / "cache/models--org--net/blobs" / SHA256
    info = scan_cache_dir(tmp_path / "cache")
    assert (info.size_on_disk, info.warnings) == (len(DATA), [])


@pytest.mark.slow
@pytest.mark.parametrize(("method", "plan", "limit"), [("HEAD", dead, 5), ("GET", dead, 5), ("GET", dripping_body, 12)])
def test_real_budget(server, method, plan, limit):
    server.plans[method] = plan
    began = time.monotonic()
    with pytest.raises(ValueError, match="reachable; "):
        fetch()
    assert time.monotonic() - began < limit
