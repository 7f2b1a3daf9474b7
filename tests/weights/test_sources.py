"""Models by hf-hub names, against a loopback hub: requests are counted, every byte is checked, only data is read."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from helpers.manifest import use_manifest
from helpers.paths import ROOT
from huggingface_hub import close_session, snapshot_download
from safetensors.torch import load_file

import gatezoo
from gatezoo import hub as client
from gatezoo import pretrained
from gatezoo.weights import digest_cache, integrity, sources
from gatezoo.weights.integrity import sha256_of

IMAGE = torch.linspace(-2, 2, 3 * 64 * 64).reshape(1, 3, 64, 64)


@pytest.fixture
def saved(tmp_path):
    """A trained network, as a folder."""
    torch.manual_seed(3)
    model = gatezoo.create_model("test_fcn", num_classes=3).eval()
    return model, gatezoo.save_pretrained(model, tmp_path / "saved", ["a", "b", "c"], "cc0-1.0")


@pytest.fixture
def put(hub, saved):
    """The same in a repository, and its commit."""
    model, folder = saved
    return model, hub.put("org/net", {path.name: path.read_bytes() for path in folder.iterdir()})


@torch.no_grad()
def logits(model):
    return model.eval()(IMAGE)


def file_of(commit, name):
    return client.cached("org/net", commit, name)


def test_repository_gives_the_network_and_then_needs_no_request(hub, put):
    model, commit = put
    pulled = gatezoo.create_model(f"hf-hub:org/net@{commit}", pretrained=True)
    assert torch.equal(logits(pulled), logits(model))
    assert pulled.pretrained_cfg.class_names == ("a", "b", "c")
    assert pulled.pretrained_cfg.sources == (f"hf-hub:org/net@{commit}/model.safetensors",)
    assert len(pulled.load_report.loaded) == len(model.state_dict())
    assert len(hub.counted("GET")) == 2
    hub.requests.clear()
    again = gatezoo.create_model(f"hf-hub:org/net@{commit}", pretrained=True)
    assert torch.equal(logits(again), logits(model))
    assert hub.counted() == []
    hub.close()
    close_session()
    again = gatezoo.create_model(f"hf-hub:org/net@{commit}", pretrained=True)
    assert torch.equal(logits(again), logits(model))


def test_branch_is_followed(hub, put, tmp_path):
    model, commit = put
    assert torch.equal(logits(gatezoo.create_model("hf-hub:org/net", pretrained=True)), logits(model))
    torch.manual_seed(4)
    other = gatezoo.create_model("test_fcn", num_classes=4)
    folder = gatezoo.save_pretrained(other, tmp_path / "other")
    hub.put("org/net", {path.name: path.read_bytes() for path in folder.iterdir()})
    hub.requests.clear()
    assert torch.equal(logits(gatezoo.from_pretrained("org/net")), logits(other))
    assert torch.equal(logits(gatezoo.from_pretrained(f"org/net@{commit}")), logits(model))
    hub.requests.clear()
    gatezoo.create_model("HF_hub:org/net", pretrained=True)
    assert hub.counted() == ["HEAD /org/net/resolve/main/config.json"]


def test_only_the_config_is_fetched_without_pretrained(hub, put):
    _, commit = put
    model = gatezoo.create_model(f"hf-hub:org/net@{commit}")
    assert (model.num_classes, model.load_report) == (3, None)
    assert all(request.endswith("config.json") for request in hub.counted())


def test_from_pretrained_takes_folders_and_names(saved):
    model, folder = saved
    assert torch.equal(logits(gatezoo.from_pretrained(folder)), logits(model))
    assert gatezoo.from_pretrained(folder, num_classes=5).num_classes == 5
    for name in ("org/net", "test_fcn/x", "hf-hub:", "local-dir:", "s3:org/net", "hf-hub"):
        with pytest.raises(
            ValueError, match=r"a model must be NAME, NAME\.TAG, local-dir:FOLDER or hf-hub|registered names"
        ):
            gatezoo.create_model(name)
    for name in ("hf-hub:net", "hf-hub:org/net@a@b", "hf-hub:org/net@../x"):
        with pytest.raises(ValueError, match=r"a repository must be org/name|a revision must be a branch"):
            gatezoo.create_model(name)


@pytest.mark.parametrize("where", [0, 7, 8, 200, -1, "config"])
def test_flipped_byte_in_the_cache_is_detected(hub, put, where, monkeypatch):
    model, commit = put
    monkeypatch.setattr(digest_cache, "MIN_FILE_AGE_NS", 0)
    name = f"hf-hub:org/net@{commit}"
    gatezoo.create_model(name, pretrained=True)
    path = file_of(commit, "config.json" if where == "config" else "model.safetensors")
    status, data = path.stat(), bytearray(path.read_bytes())
    place = data.index(b"0.5") + 2 if where == "config" else where
    data[place] ^= 1
    path.write_bytes(data)
    # Restoring the time of the last change does not hide it.
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (status.st_size, status.st_mtime_ns)
    hub.requests.clear()
    assert torch.equal(logits(gatezoo.create_model(name, pretrained=True)), logits(model))
    assert len(hub.counted("GET")) == 1, "the damaged file was used, or more than it was fetched"
    hub.requests.clear()
    gatezoo.create_model(name, pretrained=True)
    assert hub.counted() == []


@pytest.mark.parametrize("links", [True, False])
def test_file_that_is_damaged_on_the_hub_is_refused_and_not_kept(hub, put, links):
    _, commit = put
    name = f"hf-hub:org/net@{commit}"
    if not links:  # as on systems without symbolic links, where the cache holds copies
        path = client.fetch("org/net", commit, "model.safetensors")
        data = path.read_bytes()
        path.unlink()
        path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
        assert torch.is_tensor(logits(gatezoo.create_model(name, pretrained=True)))
        assert file_of(commit, "model.safetensors").read_bytes() == data
    hub.fail("GET", "model.safetensors", times=9, corrupt=True)
    file_of(commit, "model.safetensors") and client.delete_cached(file_of(commit, "model.safetensors"))
    hub.requests.clear()
    with pytest.raises(ValueError, match=r"must have sha256 .*; the download has other bytes"):
        gatezoo.create_model(name, pretrained=True)
    assert len([request for request in hub.counted("GET") if "model" in request]) == 1
    assert file_of(commit, "model.safetensors") is None


def test_file_is_hashed_once(hub, put, monkeypatch):
    _, commit = put
    monkeypatch.setattr(digest_cache, "MIN_FILE_AGE_NS", 0)
    hashed = []
    monkeypatch.setattr(integrity, "sha256_of", lambda path, real=sha256_of: hashed.append(path) or real(path))
    for _ in range(3):
        gatezoo.create_model(f"hf-hub:org/net@{commit}", pretrained=True)
    assert len(hashed) == 1, "a download is hashed as it comes, and the file in the cache once"
    file_of(commit, "model.safetensors").touch()
    gatezoo.create_model(f"hf-hub:org/net@{commit}", pretrained=True)
    assert len(hashed) == 2


def test_digest_of_a_new_file_is_not_stored(hub, put):
    """A second change within a tick of the clock would have the same time as the first."""
    _, commit = put
    gatezoo.create_model(f"hf-hub:org/net@{commit}", pretrained=True)
    path = file_of(commit, "model.safetensors")
    note = path.parents[2] / "verified" / commit / "model.safetensors.json"
    assert not note.exists()
    digest_cache.store_digest(note, digest_cache.file_signature(path), "0" * 64)
    assert not note.exists()


def test_invalid_digest_notes_are_ignored(tmp_path):
    path, note = tmp_path / "f", tmp_path / "n" / "note"
    path.write_bytes(b"1")
    note.parent.mkdir()
    for text in ("", "[]", "{}", '{"sha256": "x", "stamp": [1]}', "null", "\x00"):
        note.write_text(text)
        assert not digest_cache.is_cached(note, path, "x")
    note.write_text(json.dumps({"sha256": "x", "stamp": digest_cache.file_signature(path)}))
    assert digest_cache.is_cached(note, path, "x")
    assert not digest_cache.is_cached(note, path, "y")


def test_sources_are_tried_in_order(hub, put, tmp_path, monkeypatch):
    model, commit = put
    cfg = pretrained.PretrainedCfg.from_dict(
        "test_fcn.demo",
        {
            **{key: value for key, value in gatezoo.create_model(f"hf-hub:org/net@{commit}", pretrained=True)
               .pretrained_cfg.to_dict().items() if key not in ("architecture", "tag")},
            "palette": [[0, 0, 0]] * 3,
            "sources": ["bundled:absent.safetensors", f"hf-hub:org/net@{commit}/model.safetensors"],
        },
    )  # fmt: skip
    use_manifest(monkeypatch, cfg)
    monkeypatch.setattr(sources, "BUNDLED", tmp_path / "bundled")
    hub.requests.clear()
    assert torch.equal(logits(gatezoo.create_model("test_fcn", pretrained=True)), logits(model))
    assert hub.counted() == []
    (tmp_path / "bundled").mkdir()
    (tmp_path / "bundled/absent.safetensors").write_bytes(file_of(commit, "model.safetensors").read_bytes())
    assert sources.resolve_weights(cfg) == tmp_path / "bundled/absent.safetensors"
    # A damaged bundled file falls back to the hub's; without either, the error names both.
    (tmp_path / "bundled/absent.safetensors").write_bytes(b"damaged")
    assert sources.resolve_weights(cfg) == file_of(commit, "model.safetensors")
    client.delete_cached(file_of(commit, "model.safetensors"))
    hub.close()
    close_session()
    with pytest.raises(ValueError, match=r"bundled:absent.* must be a file of .*; hf-hub:org/net@.* reachable"):
        gatezoo.create_model("test_fcn", pretrained=True)


def test_pushed_repository_opens_with_plain_huggingface_hub(hub, saved, tmp_path):
    model, _ = saved
    with pytest.raises(ValueError, match="must have a license; org/mine has none"):
        gatezoo.push_to_hub(model, "org/mine")
    commit = gatezoo.push_to_hub(model, "org/mine", license="CC-BY-4.0")
    folder = Path(snapshot_download("org/mine", cache_dir=tmp_path / "plain"))
    assert {path.name for path in folder.iterdir()} == {"config.json", "model.safetensors", "README.md"}
    assert load_file(folder / "model.safetensors").keys() == model.state_dict().keys()
    assert json.loads((folder / "config.json").read_text())["architecture"] == "test_fcn"
    assert "hf-hub:org/mine" in (folder / "README.md").read_text()
    assert torch.equal(logits(gatezoo.from_pretrained(f"org/mine@{commit}")), logits(model))
    # And from the folder that the plain client made.
    assert torch.equal(logits(gatezoo.from_pretrained(folder)), logits(model))


def test_repository_with_a_pickle_and_no_safetensors_is_refused(hub, put):
    commit = hub.put("org/pickle", {"config.json": hub.repos["org/net"].commits[put[1]]["config.json"].data})
    hub.put("org/pickle", {"pytorch_model.bin": b"cos\nsystem\n(S'true'\ntR."})
    hub.requests.clear()
    with pytest.raises(ValueError, match=r"model.safetensors must be in the repository; it is not"):
        gatezoo.from_pretrained(f"org/pickle@{commit}")
    assert not any("pytorch_model" in request for request in hub.requests)


def test_config_of_another_program_is_refused(hub):
    commit = hub.put("org/bert", {"config.json": b'{"model_type": "bert"}', "model.safetensors": b""})
    with pytest.raises(ValueError, match=r"must be a model config as save_pretrained writes it: architecture"):
        gatezoo.from_pretrained(f"org/bert@{commit}")


@pytest.mark.slow
def test_published_dignet_opens_in_a_new_process_with_and_without_the_hub(hub, tmp_path):
    """Bundled weights, published and downloaded to an empty cache, give the same logits, with and without the hub."""
    from gatezoo.publishing.publish import build_release, publish

    release = build_release("dignet_lite0_8s.camvid", tmp_path / "out", "org/camvid")
    manifest = tmp_path / "manifest.json"
    manifest.write_text((ROOT / pretrained.MANIFEST).read_text())
    publish(release, "org/camvid", manifest=manifest)
    expected = load_file(tmp_path / "out/golden.safetensors")["logits"]
    code = (
        "import sys, torch, gatezoo\nfrom gatezoo.publishing.golden import golden_logits\n"
        "model = gatezoo.create_model('hf-hub:org/camvid', pretrained=True)\n"
        "torch.save(golden_logits(model), sys.argv[1])\n"
    )
    variables = {"HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "fresh"), "HF_HUB_OFFLINE": "0", "GATEZOO_CACHE": ""}
    for step in ("with", "without"):
        out = tmp_path / f"{step}.pt"
        hub.requests.clear()
        done = subprocess.run(
            [sys.executable, "-c", code, out],
            env={**os.environ, "PYTHONPATH": str(ROOT), **variables},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        assert len(hub.counted("GET")) == (2 if step == "with" else 0)
        torch.testing.assert_close(torch.load(out), expected, atol=1e-5, rtol=1e-5)
        hub.close()
