"""Files from a hub and to it: the real client, a hub on this machine. Every request is counted."""

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


def elsewhere(hub, code, cache, **environment):
    """Run code in another process, with nothing but the environment to tell it of the hub."""
    told = {"HF_ENDPOINT": hub.url, "HF_HOME": str(cache), "HF_HUB_OFFLINE": "0", "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        [sys.executable, "-c", code],
        env={**os.environ, "GATEZOO_CACHE": "", **told, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_a_pinned_file_is_fetched_once_and_then_costs_no_request(hub, commit):
    assert client.fetch("org/net", commit, FILE).read_bytes() == DATA
    # One brief question whether the hub is there, then the client's own two requests.
    assert hub.counted() == [f"HEAD {at(commit)}", f"HEAD {at(commit)}", f"GET {at(commit)}"]
    hub.requests.clear()
    assert client.fetch("org/net", commit, FILE).read_bytes() == DATA
    assert client.resolve("org/net", commit) == commit
    assert client.cached("org/net", commit, FILE).read_bytes() == DATA
    assert hub.counted() == []


def test_a_branch_is_resolved_and_costs_one_request_when_nothing_changed(hub, commit):
    assert client.resolve("org/net") == commit
    assert hub.counted("GET") == [f"GET {at('main', 'config.json')}"]
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
def test_a_server_error_on_the_body_is_asked_for_again(hub, commit, status):
    hub.fail("GET", "/resolve/", times=2, status=status)
    assert client.fetch("org/net", commit, FILE).read_bytes() == DATA
    assert len(hub.counted("GET")) == 3


def test_a_server_error_on_the_question_is_asked_again_and_not_for_long(hub, commit):
    hub.fail("HEAD", "/resolve/", times=2, status=503)
    assert client.fetch("org/net", commit, FILE).read_bytes() == DATA
    hub.fail("HEAD", "/resolve/", times=99, status=503)
    began = time.monotonic()
    with pytest.raises(ValueError, match=r"must be in the cache or the hub .* in reach; status 503: .*local-dir:"):
        client.fetch("org/net", commit, "config.json")
    assert time.monotonic() - began < 5


def test_a_server_that_always_fails_on_the_body_is_given_up(hub, commit):
    hub.fail("GET", "/resolve/", times=99, status=500)
    with pytest.raises(ValueError, match="status 500"):
        client.fetch("org/net", commit, FILE)
    assert len(hub.counted("GET")) == 4
    assert client.cached("org/net", commit, FILE) is None


def test_a_limit_is_respected(hub, commit):
    for method in ("HEAD", "GET"):
        hub.fail(method, "/resolve/", times=1, status=429, headers={"Retry-After": "1"})
    began = time.monotonic()
    assert client.fetch("org/net", commit, FILE).read_bytes() == DATA
    assert time.monotonic() - began > 2
    assert len(hub.counted()) == 5
    hub.fail("HEAD", "/resolve/", times=9, status=429, headers={"ratelimit": '"resolvers";r=0;t=280'})
    hub.requests.clear()
    with pytest.raises(ValueError, match=r"the hub limits how often it may be asked .*HF_TOKEN"):
        client.fetch("org/net", commit, "config.json")
    assert len(hub.counted()) == 1, "asked again before its time"


def test_a_body_that_breaks_off_is_fetched_whole(hub, commit):
    hub.fail("GET", "/resolve/", truncate=True)
    assert client.fetch("org/net", commit, FILE).read_bytes() == DATA
    assert len(hub.counted("GET")) == 2


def test_a_dead_hub_is_told_within_five_seconds_with_the_ways_out(hub, commit):
    cached = client.fetch("org/net", commit, FILE)
    hub.close()
    close_session()
    began = time.monotonic()
    with pytest.raises(ValueError, match="in reach") as caught:
        client.fetch("org/net", commit, "config.json")
    assert time.monotonic() - began < 5
    message = str(caught.value)
    assert "\n" not in message
    for way in ("gatezoo weights fetch", "local-dir:", "HF_ENDPOINT", str(client.cache_folder()), hub.url):
        assert way in message
    assert client.fetch("org/net", commit, FILE) == cached


def test_a_hub_that_takes_the_call_and_says_nothing_is_told_within_five_seconds(hub, commit):
    hub.fail("HEAD", "/resolve/", times=9, delay=20)
    began = time.monotonic()
    with pytest.raises(ValueError, match="in reach; "):
        client.fetch("org/net", commit, FILE)
    assert time.monotonic() - began < 5


def test_a_branch_of_a_dead_hub_is_what_the_cache_knows_and_the_log_says_so(hub, commit, caplog):
    client.resolve("org/net")
    commit = hub.put("org/net", {"config.json": b'{"a": 2}'})
    client.resolve("org/net")
    hub.close()
    close_session()
    assert client.resolve("org/net") == commit
    assert "main of org/net is taken from the cache, as of commit" in caplog.text
    with pytest.raises(ValueError, match="in reach"):
        client.resolve("org/net", "other")


def test_a_limit_on_questions_does_not_keep_one_from_what_is_cached(hub, commit, caplog):
    client.resolve("org/net")
    hub.fail("HEAD", "/resolve/", times=9, status=429, headers={"Retry-After": "300"})
    assert client.resolve("org/net") == commit
    assert "the hub limits how often it may be asked" in caplog.text


def test_offline_mode_asks_nothing(hub, commit, monkeypatch):
    client.fetch("org/net", commit, FILE)
    hub.requests.clear()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert client.fetch("org/net", commit, FILE).read_bytes() == DATA
    with pytest.raises(ValueError, match="HF_HUB_OFFLINE is set"):
        client.fetch("org/net", commit, "config.json")
    assert hub.counted() == []


def test_what_is_not_there_or_not_allowed_says_which(hub, commit, monkeypatch):
    with pytest.raises(ValueError, match=r"org/none@main/config.json must exist and be yours to use"):
        client.resolve("org/none")
    with pytest.raises(ValueError, match="must name a branch, tag or commit"):
        client.resolve("org/net", "v9")
    with pytest.raises(ValueError, match="must be in the repository; it is not"):
        client.fetch("org/net", commit, "other.json")
    secret = hub.put("org/secret", {"config.json": b"{}"}, private=True)
    assert client.resolve("org/secret") == secret
    for token in ("", "hf_reader", "hf_nobody"):
        monkeypatch.setenv("HF_TOKEN", token)
        with pytest.raises(ValueError, match=r"must exist and be yours to use; the hub says 40[14]: .*HF_TOKEN"):
            client.fetch("org/secret", secret, "other.json")


@pytest.mark.parametrize("repo", ["net", "org/net/more", "../net", "org/..", "org/a b", "org/n?x", ""])
def test_a_repository_is_org_and_name(hub, repo):
    with pytest.raises(ValueError, match="a repository is org/name"):
        client.resolve(repo)
    assert hub.counted() == []


@pytest.mark.parametrize("file", ["pytorch_model.bin", "model.pth", "../x.json", "a/b.safetensors", "model.pkl"])
def test_neither_a_pickle_nor_another_folder_is_ever_asked_for(hub, commit, file):
    with pytest.raises(ValueError, match=r"only \.safetensors, \.json, \.md files are fetched"):
        client.fetch("org/net", commit, file)
    assert hub.counted() == []


def test_a_file_of_another_size_is_not_even_downloaded(hub, commit):
    with pytest.raises(ValueError, match=f"must have 9 bytes; the hub has {len(DATA)}: it is not downloaded"):
        client.fetch("org/net", commit, FILE, size=9)
    large = hub.put("org/net", {"config.json": b" " * (client.SMALL + 1)})
    with pytest.raises(ValueError, match=f"must have at most {client.SMALL} bytes; .* it is not downloaded"):
        client.fetch("org/net", large, "config.json")
    with pytest.raises(ValueError, match="it is not downloaded"):
        client.resolve("org/net")
    assert hub.counted("GET") == []
    assert client.fetch("org/net", commit, FILE, size=len(DATA)).read_bytes() == DATA


def test_a_small_file_that_was_changed_is_fetched_again(hub, commit):
    path = client.fetch("org/net", commit, "config.json")
    path.write_bytes(b'{"a": 3}')
    # The client itself would take it.
    assert Path(hf_hub_download("org/net", "config.json", revision=commit, cache_dir=client.cache_folder())) == path
    assert client.fetch("org/net", commit, "config.json").read_bytes() == b'{"a": 1}'
    hub.fail("GET", "/resolve/", times=9, corrupt=True)
    path.write_bytes(b'{"a": 3}')
    with pytest.raises(ValueError, match="arrives with other bytes"):
        client.fetch("org/net", commit, "config.json")
    assert client.cached("org/net", commit, "config.json") is None


def test_a_cache_that_cannot_be_written_is_read_and_says_why_it_takes_no_more(hub, commit, tmp_path):
    """In another process, as a user to whom the folder does not belong."""
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
    out, err = elsewhere(hub, code, tmp_path).communicate()
    for folder, _, _ in os.walk(cache):
        Path(folder).chmod(0o755)
    assert out.count("\n") == 2, err
    found, refused = out.splitlines()
    assert Path(found).read_bytes() == DATA
    assert "must be writable and have room" in refused
    assert "Permission denied" in refused
    assert "cache_dir, GATEZOO_CACHE or HF_HOME" in refused


def test_a_full_disk_says_so_and_leaves_nothing_behind(hub, commit, tmp_path):
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limit[1]))
    try:
        with pytest.raises(ValueError, match=r"must be writable and have room for .*; File too large"):
            client.fetch("org/net", commit, FILE, tmp_path / "small")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert not [path for path in (tmp_path / "small").rglob("*") if path.is_file() and path.stat().st_size > 200]
    assert client.fetch("org/net", commit, FILE, tmp_path / "small").read_bytes() == DATA


def test_processes_that_race_for_a_file_all_get_it(hub, commit, tmp_path):
    hub.fail("GET", "/resolve/", times=1, delay=0.5)
    code = f"from gatezoo import hub; print(hub.fetch('org/net', {commit!r}, {FILE!r}))"
    racers = [elsewhere(hub, code, tmp_path / "home") for _ in range(3)]
    places = {racer.communicate()[0].strip() for racer in racers}
    assert [racer.returncode for racer in racers] == [0, 0, 0]
    (place,) = places
    assert Path(place).is_relative_to(tmp_path / "home/hub"), "HF_HOME was not heard"
    assert Path(place).read_bytes() == DATA
    assert len(hub.counted("GET")) == 1


def test_upload_makes_a_repository_and_returns_the_commit(hub, tmp_path, monkeypatch):
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
    # The same again is no new commit and sends no bytes.
    hub.requests.clear()
    assert client.upload(tmp_path / "up", "org/new", "second") == commit
    assert hub.counted("PUT") == []
    monkeypatch.setenv("HF_TOKEN", "hf_reader")
    with pytest.raises(ValueError, match="must exist and be yours to use; the hub says 403"):
        client.upload(tmp_path / "up", "org/new", "third")
    monkeypatch.setenv("HF_TOKEN", "")
    with pytest.raises(ValueError, match="HF_TOKEN"):
        client.upload(tmp_path / "up", "org/new", "third")


def test_a_card_that_the_hub_refuses_is_one_line(hub, tmp_path):
    (tmp_path / "up").mkdir()
    (tmp_path / "up/README.md").write_text('---\nlicense: "mine"\n---\n')
    with pytest.raises(ValueError, match="license") as caught:
        client.upload(tmp_path / "up", "org/new", "first")
    assert "\n" not in str(caught.value)


def test_upload_to_a_dead_hub_is_told_soon(hub, tmp_path):
    (tmp_path / "up").mkdir()
    hub.close()
    close_session()
    began = time.monotonic()
    with pytest.raises(ValueError, match="in reach"):
        client.upload(tmp_path / "up", "org/new", "first")
    assert time.monotonic() - began < 5
