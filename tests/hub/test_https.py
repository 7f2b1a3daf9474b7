"""Weights at a plain https address: cached by digest, checked, one-line errors."""

import dataclasses
import os

import pytest
import torch
from helpers.hub_faults import LocalSession
from helpers.manifest import use_manifest

import gatezoo
from gatezoo import hub as client
from gatezoo import pretrained
from gatezoo.hub import retry, stream
from gatezoo.weights import sources
from gatezoo.weights.integrity import sha256_of

URL = "https://files.test/org/net/resolve/{commit}/model.safetensors"


@pytest.fixture
def entry(hub, tmp_path, monkeypatch):
    """A model and its manifest entry, whose only source is an https address."""
    monkeypatch.setattr(stream, "get_session", lambda: LocalSession(hub.url))
    monkeypatch.setattr(retry, "RETRY_DELAYS", (0.01, 0.01))
    torch.manual_seed(3)
    model = gatezoo.create_model("test_fcn", num_classes=3).eval()
    data = (gatezoo.save_pretrained(model, tmp_path / "saved", ["a", "b", "c"]) / "model.safetensors").read_bytes()
    commit = hub.put("org/net", {"model.safetensors": data})
    cfg = pretrained.PretrainedCfg(
        "test_fcn", "demo", 3, (0.5,) * 3, (0.5,) * 3, size=len(data), sources=(URL.format(commit=commit),),
        sha256=sha256_of(tmp_path / "saved/model.safetensors"),
    )  # fmt: skip
    use_manifest(monkeypatch, cfg)
    return model, cfg


@torch.no_grad()
def test_file_is_downloaded_once(hub, entry, tmp_path):
    model, cfg = entry
    image = torch.rand(1, 3, 64, 64)
    assert torch.equal(gatezoo.create_model("test_fcn", pretrained=True).eval()(image), model(image))
    path = tmp_path / "cache/gatezoo" / cfg.sha256 / "model.safetensors"
    assert sources.list_local_files(cfg) == [(cfg.sources[0], path)]
    hub.requests.clear()
    assert torch.equal(gatezoo.create_model("test_fcn", pretrained=True).eval()(image), model(image))
    assert hub.requests == []


def test_file_is_on_the_disk_before_it_gets_its_name(hub, entry, monkeypatch):
    calls, sync, replace = [], os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda fd: calls.append(os.fstat(fd).st_ino) or sync(fd))
    monkeypatch.setattr(os, "replace", lambda a, b: calls.append(("replace", os.stat(a).st_ino)) or replace(a, b))
    gatezoo.create_model("test_fcn", pretrained=True)
    (path,) = [path for _, path in sources.list_local_files(entry[1])]
    number = path.stat().st_ino
    assert calls.index(number) < calls.index(("replace", number))


def test_damaged_file_is_downloaded_again(hub, entry):
    cfg = entry[1]
    path = sources.resolve_weights(cfg)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    assert sources.resolve_weights(cfg) == path
    assert sha256_of(path) == cfg.sha256


@pytest.mark.parametrize("status", [500, 503])
def test_server_errors_are_retried(hub, entry, status):
    hub.fail("GET", "resolve", times=2, status=status)
    assert sha256_of(sources.resolve_weights(entry[1])) == entry[1].sha256


def test_other_bytes_are_refused_and_not_kept(hub, entry, tmp_path):
    cfg = entry[1]
    hub.fail("GET", "resolve", times=1, corrupt=True)
    with pytest.raises(ValueError, match=r"must have sha256 .*; the download has other bytes"):
        sources.resolve_weights(cfg)
    assert sources.list_local_files(cfg) == []
    longer = dataclasses.replace(cfg, size=cfg.size + 1)
    with pytest.raises(ValueError, match=f"must have {cfg.size + 1} bytes; the server has {cfg.size}"):
        sources.resolve_weights(longer)
    assert not (tmp_path / "cache/gatezoo" / cfg.sha256).exists()


def test_server_that_fails_is_a_one_line_error(hub, entry, monkeypatch):
    cfg = entry[1]
    gone = dataclasses.replace(cfg, sources=(URL.format(commit="0" * 40),))
    with pytest.raises(ValueError, match=r"must be in the cache or reachable; status 40[14]: .*local-dir:"):
        sources.resolve_weights(gone)
    hub.close()
    with pytest.raises(ValueError, match=r"must be in the cache or reachable; .*local-dir:"):
        sources.resolve_weights(cfg)
    monkeypatch.setattr(stream.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ValueError, match="HF_HUB_OFFLINE is set"):
        sources.resolve_weights(cfg)


def test_read_only_cache_is_an_error(hub, entry, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("GATEZOO_CACHE", str(tmp_path / "file"))
    with pytest.raises(ValueError, match="must be writable and have room"):
        sources.resolve_weights(entry[1])


@pytest.mark.parametrize("source", ["http://files.test/a.safetensors", "https://files.test/a.pth", "https://a b/c"])
def test_other_addresses_are_refused(entry, source):
    with pytest.raises(ValueError, match="sources must be bundled:FILE, hf-hub:"):
        sources.resolve_weights(dataclasses.replace(entry[1], sources=(source,)))


def test_addresses_with_one_file_name_have_distinct_cache_paths(tmp_path):
    one, two = (client.cache_path("https://a/w.safetensors", digest, tmp_path) for digest in ("1" * 64, "2" * 64))
    assert one != two
    assert one.name == two.name == "w.safetensors"
