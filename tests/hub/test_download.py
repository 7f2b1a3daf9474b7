"""Downloads from a hub and uploads to it: the real client, a loopback hub. Every request is counted."""

import os
import resource
import subprocess
import sys
import time
from pathlib import Path

import pytest
from helpers.paths import ROOT
from huggingface_hub import close_session, constants, hf_hub_download

from gatezoo import hub as client

FILE = "model.safetensors"
DATA = bytes(range(256)) * 40


def at(commit, file=FILE):
    return f"/org/net/resolve/{commit}/{file}"


@pytest.fixture
def commit(hub):
    return hub.put("org/net", {FILE: DATA, "config.json": b'{"a": 1}'})


def start_process(hub, code, cache, **environment):
    """Run code in another process, which knows the hub from its environment alone."""
    variables = {"HF_ENDPOINT": hub.url, "HF_HOME": str(cache), "HF_HUB_OFFLINE": "0", "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        [sys.executable, "-c", code],
        env={**os.environ, "GATEZOO_CACHE": "", **variables, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_pinned_file_is_fetched_once_and_then_needs_no_request(hub, commit):
    assert client.fetch("org/net", commit, FILE).read_bytes() == DATA
    assert hub.counted() == [f"HEAD {at(commit)}", f"GET {at(commit)}"]
    hub.requests.clear()
    assert client.fetch("org/net", commit, FILE).read_bytes() == DATA
    assert client.resolve("org/net", commit) == commit
    assert client.cached("org/net", commit, FILE).read_bytes() == DATA
    assert hub.counted() == []


def test_unchanged_branch_is_resolved_with_one_request(hub, commit):
    assert client.resolve("org/net") == commit
    assert hub.counted("GET") == [f"GET {at(commit, 'config.json')}"]
    hub.requests.clear()
    assert client.resolve("org/net") == commit
    assert hub.counted() == [f"HEAD {at('main', 'config.json')}"]
    newer = hub.put("org/net", {"config.json": b'{"a": 2}'})
    assert client.resolve("org/net") == newer
    assert client.fetch("org/net", newer, "config.json").read_bytes() == b'{"a": 2}'
    assert client.fetch("org/net", commit, "config.json").read_bytes() == b'{"a": 1}'


def test_tags_and_branches_are_revisions(hub, commit):
    hub.repos["org/net"].refs |= {"v1.0": commit, "refs/pr/1": commit}
    hub.put("org/net", {"config.json": b"{}"})
    assert client.resolve("org/net", "v1.0") == client.resolve("org/net", "refs/pr/1") == commit


@pytest.mark.parametrize("status", [500, 502, 503])
def test_server_error_on_the_body_is_retried(hub, commit, status):
    hub.fail("GET", "/resolve/", times=2, status=status)
    assert client.fetch("org/net", commit, FILE).read_bytes() == DATA
    assert len(hub.counted("GET")) == 3


def test_server_error_on_the_metadata_is_retried_for_a_short_time(hub, commit):
    hub.fail("HEAD", "/resolve/", times=2, status=503)
    assert client.fetch("org/net", commit, FILE).read_bytes() == DATA
    hub.fail("HEAD", "/resolve/", times=99, status=503)
    began = time.monotonic()
    with pytest.raises(ValueError, match=r"must be in the cache or the hub .* reachable; status 503: .*local-dir:"):
        client.fetch("org/net", commit, "config.json")
    assert time.monotonic() - began < 5


def test_server_that_always_fails_on_the_body_is_an_error(hub, commit):
    hub.fail("GET", "/resolve/", times=99, status=500)
    with pytest.raises(ValueError, match="status 500"):
        client.fetch("org/net", commit, FILE)
    assert len(hub.counted("GET")) == 4
    assert client.cached("org/net", commit, FILE) is None


def test_rate_limit_is_respected(hub, commit):
    for method in ("HEAD", "GET"):
        hub.fail(method, "/resolve/", times=1, status=429, headers={"Retry-After": "1"})
    began = time.monotonic()
    assert client.fetch("org/net", commit, FILE).read_bytes() == DATA
    assert time.monotonic() - began > 2
    assert len(hub.counted()) == 4
    hub.fail("HEAD", "/resolve/", times=9, status=429, headers={"ratelimit": '"resolvers";r=0;t=280'})
    hub.requests.clear()
    with pytest.raises(ValueError, match=r"the hub asks to wait 280 s: .*HF_TOKEN"):
        client.fetch("org/net", commit, "config.json")
    assert len(hub.counted()) == 1, "requested again before the delay was over"


def test_truncated_body_is_downloaded_again(hub, commit):
    hub.fail("GET", "/resolve/", truncate=True)
    assert client.fetch("org/net", commit, FILE).read_bytes() == DATA
    assert len(hub.counted("GET")) == 2


def test_dead_hub_is_an_error_within_five_seconds_with_alternatives(hub, commit):
    cached = client.fetch("org/net", commit, FILE)
    hub.close()
    close_session()
    began = time.monotonic()
    with pytest.raises(ValueError, match="reachable") as caught:
        client.fetch("org/net", commit, "config.json")
    assert time.monotonic() - began < 5
    message = str(caught.value)
    assert "\n" not in message
    for part in ("gatezoo weights download", "local-dir:", "HF_ENDPOINT", str(client.cache_folder()), hub.url):
        assert part in message
    assert client.fetch("org/net", commit, FILE) == cached


def test_hub_that_accepts_and_never_answers_is_an_error_within_five_seconds(hub, commit):
    hub.fail("HEAD", "/resolve/", times=9, delay=20)
    began = time.monotonic()
    with pytest.raises(ValueError, match="reachable; "):
        client.fetch("org/net", commit, FILE)
    assert time.monotonic() - began < 5


def test_branch_of_a_dead_hub_is_resolved_from_the_cache_with_a_warning(hub, commit, caplog):
    client.resolve("org/net")
    commit = hub.put("org/net", {"config.json": b'{"a": 2}'})
    client.resolve("org/net")
    hub.close()
    close_session()
    assert client.resolve("org/net") == commit
    assert "main of org/net is taken from the cache, as of commit" in caplog.text
    with pytest.raises(ValueError, match="reachable"):
        client.resolve("org/net", "other")


def test_rate_limited_branch_is_resolved_from_the_cache_with_a_warning(hub, commit, caplog):
    client.resolve("org/net")
    hub.fail("HEAD", "/resolve/", times=9, status=429, headers={"Retry-After": "300"})
    assert client.resolve("org/net") == commit
    assert "the hub asks to wait 300 s" in caplog.text


def test_offline_mode_makes_no_request(hub, commit, monkeypatch):
    client.fetch("org/net", commit, FILE)
    hub.requests.clear()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert client.fetch("org/net", commit, FILE).read_bytes() == DATA
    with pytest.raises(ValueError, match="HF_HUB_OFFLINE is set"):
        client.fetch("org/net", commit, "config.json")
    assert hub.counted() == []


def test_missing_and_private_files_have_distinct_errors(hub, commit, monkeypatch):
    with pytest.raises(ValueError, match=r"org/none@main/config.json must exist and be accessible"):
        client.resolve("org/none")
    with pytest.raises(ValueError, match="must name a branch, tag or commit"):
        client.resolve("org/net", "v9")
    with pytest.raises(ValueError, match="must be in the repository; it is not"):
        client.fetch("org/net", commit, "other.json")
    secret = hub.put("org/secret", {"config.json": b"{}"}, private=True)
    assert client.resolve("org/secret") == secret
    for token in ("", "hf_reader", "hf_nobody"):
        monkeypatch.setenv("HF_TOKEN", token)
        with pytest.raises(ValueError, match=r"must exist and be accessible; the hub answers 40[14]: .*HF_TOKEN"):
            client.fetch("org/secret", secret, "other.json")


@pytest.mark.parametrize("repo", ["net", "org/net/more", "../net", "org/..", "org/a b", "org/n?x", ""])
def test_repository_must_be_org_and_name(hub, repo):
    with pytest.raises(ValueError, match="a repository must be org/name"):
        client.resolve(repo)
    assert hub.counted() == []


@pytest.mark.parametrize("file", ["pytorch_model.bin", "model.pth", "../x.json", "a/b.safetensors", "model.pkl"])
def test_pickles_and_files_of_other_folders_are_never_requested(hub, commit, file):
    with pytest.raises(ValueError, match=r"only \.safetensors, \.json, \.md files are fetched"):
        client.fetch("org/net", commit, file)
    assert hub.counted() == []


def test_file_of_another_size_is_not_downloaded(hub, commit):
    with pytest.raises(ValueError, match=f"must have 9 bytes; the hub has {len(DATA)}: it is not downloaded"):
        client.fetch("org/net", commit, FILE, size=9)
    large = hub.put("org/net", {"config.json": b" " * (client.MAX_SMALL_FILE + 1)})
    with pytest.raises(ValueError, match=f"must have at most {client.MAX_SMALL_FILE} bytes; .* it is not downloaded"):
        client.fetch("org/net", large, "config.json")
    with pytest.raises(ValueError, match="it is not downloaded"):
        client.resolve("org/net")
    assert hub.counted("GET") == []
    assert client.fetch("org/net", commit, FILE, size=len(DATA)).read_bytes() == DATA


def test_modified_small_file_is_downloaded_again(hub, commit):
    path = client.fetch("org/net", commit, "config.json")
    path.write_bytes(b'{"a": 3}')
    # The client itself would return it.
    assert Path(hf_hub_download("org/net", "config.json", revision=commit, cache_dir=client.cache_folder())) == path
    assert client.fetch("org/net", commit, "config.json").read_bytes() == b'{"a": 1}'
    hub.fail("GET", "/resolve/", times=9, corrupt=True)
    path.write_bytes(b'{"a": 3}')
    with pytest.raises(ValueError, match=r"must have git object id .*; the download has other bytes"):
        client.fetch("org/net", commit, "config.json")
    assert client.cached("org/net", commit, "config.json") is None


def test_read_only_cache_is_read_and_refuses_downloads(hub, commit, tmp_path):
    """In another process, as a user who does not own the folder."""
    cache = tmp_path / "cache"
    client.fetch("org/net", commit, FILE, cache)
    for folder in [tmp_path, *tmp_path.parents]:
        if folder.owner() == tmp_path.owner() and folder != Path("/tmp"):
            folder.chmod(folder.stat().st_mode | 0o055)
    for folder, _, _ in os.walk(cache):
        Path(folder).chmod(0o555)
    code = (
        "import encodings.idna, os, sys\n"
        f"sys.path.insert(0, {str(ROOT)!r})\n"
        "from gatezoo import hub\n"
        "if not os.getuid(): os.setuid(65534)\n"
        f"print(hub.fetch('org/net', {commit!r}, {FILE!r}, {str(cache)!r}))\n"
        f"try: hub.fetch('org/net', {commit!r}, 'config.json', {str(cache)!r})\n"
        "except ValueError as error: print(error)\n"
    )
    out, err = start_process(hub, code, tmp_path).communicate()
    for folder, _, _ in os.walk(cache):
        Path(folder).chmod(0o755)
    assert out.count("\n") == 2, err
    found, refused = out.splitlines()
    assert Path(found).read_bytes() == DATA
    assert "must be writable and have room" in refused
    assert "Permission denied" in refused
    assert "cache_dir, GATEZOO_CACHE or HF_HOME" in refused


def test_full_disk_is_an_error_and_leaves_no_file_behind(hub, commit, tmp_path):
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limit[1]))
    try:
        with pytest.raises(ValueError, match=r"must be writable and have room for .*; File too large"):
            client.fetch("org/net", commit, FILE, tmp_path / "small")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert not [path for path in (tmp_path / "small").rglob("*") if path.is_file() and path.stat().st_size > 200]
    assert client.fetch("org/net", commit, FILE, tmp_path / "small").read_bytes() == DATA


def test_concurrent_processes_download_a_file_once(hub, commit, tmp_path):
    hub.fail("GET", "/resolve/", times=1, delay=0.5)
    code = f"from gatezoo import hub; print(hub.fetch('org/net', {commit!r}, {FILE!r}))"
    racers = [start_process(hub, code, tmp_path / "home") for _ in range(3)]
    places = {racer.communicate()[0].strip() for racer in racers}
    assert [racer.returncode for racer in racers] == [0, 0, 0]
    (place,) = places
    assert Path(place).is_relative_to(tmp_path / "home/hub"), "HF_HOME was ignored"
    assert Path(place).read_bytes() == DATA
    assert len(hub.counted("GET")) == 1


def test_upload_creates_a_repository_and_returns_the_commit(hub, tmp_path, monkeypatch):
    (tmp_path / "up").mkdir()
    (tmp_path / "up" / FILE).write_bytes(DATA)
    (tmp_path / "up/config.json").write_text("{}")
    commit = client.upload(tmp_path / "up", "org/new", "first", private=True)
    assert hub.repos["org/new"].private
    assert hub.repos["org/new"].refs["main"] == commit
    files = hub.repos["org/new"].commits[commit]
    assert (files[FILE].data, files[FILE].large) == (DATA, True)
    assert files["config.json"].data == b"{}"
    assert not files["config.json"].large
    # A second upload of the same files makes no commit and sends no bytes.
    hub.requests.clear()
    assert client.upload(tmp_path / "up", "org/new", "second") == commit
    assert hub.counted("PUT") == []
    monkeypatch.setenv("HF_TOKEN", "hf_reader")
    with pytest.raises(ValueError, match="token must allow writing hf-hub:org/new; the hub answers 403"):
        client.upload(tmp_path / "up", "org/new", "third")
    monkeypatch.setenv("HF_TOKEN", "")
    hub.requests.clear()
    with pytest.raises(ValueError, match="there is no token: set HF_TOKEN"):
        client.upload(tmp_path / "up", "org/new", "third")
    with pytest.raises(ValueError, match="upload to hf-hub:org/new must be authorized; there is no token"):
        client.require_token("org/new")
    assert hub.requests == [], "a missing token is reported first"


def test_card_that_the_hub_refuses_is_a_one_line_error(hub, tmp_path):
    (tmp_path / "up").mkdir()
    (tmp_path / "up/README.md").write_text('---\nlicense: "mine"\n---\n')
    with pytest.raises(ValueError, match="license") as caught:
        client.upload(tmp_path / "up", "org/new", "first")
    assert "\n" not in str(caught.value)


def test_upload_to_a_dead_hub_is_an_error_within_five_seconds(hub, tmp_path):
    (tmp_path / "up").mkdir()
    hub.close()
    close_session()
    began = time.monotonic()
    with pytest.raises(ValueError, match="reachable for the upload of hf-hub:org/new; ") as caught:
        client.upload(tmp_path / "up", "org/new", "first")
    assert time.monotonic() - began < 5
    assert "download" not in str(caught.value)
