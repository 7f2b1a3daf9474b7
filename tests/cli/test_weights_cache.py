"""``gatezoo weights prune`` and ``verify`` in a cache: what goes, what stays, and that nothing outside is touched."""

import dataclasses
import hashlib
import json
import os
import time

import pytest
from helpers.commands import run
from helpers.manifest import use_manifest
from huggingface_hub import constants

import gatezoo
from gatezoo import hub as client
from gatezoo import pretrained

WEB = "https://files.test/old.safetensors"
OLD = 1_000_000_000


def make_entry(hub, tmp_path, repo, bias):
    """Weights of the manifest at a new commit of a repository."""
    model = gatezoo.create_model("test_fcn", num_classes=2)
    model.head.bias.data.fill_(bias)
    folder = gatezoo.save_pretrained(model, tmp_path / f"{bias}", ["a", "b"], "MIT")
    commit = hub.put(repo, {path.name: path.read_bytes() for path in folder.iterdir()})
    stored = json.loads((folder / "config.json").read_text())["pretrained_cfg"]
    return pretrained.PretrainedCfg.from_config("test_fcn", stored, f"hf-hub:{repo}@{commit}/model.safetensors")


@pytest.fixture
def use(monkeypatch):
    """Make entries the manifest in use."""
    return lambda *cfgs: use_manifest(monkeypatch, *cfgs)


def size_of(folder):
    return sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file() and not path.is_symlink())


def commit_of(cfg):
    return cfg.sources[0].partition("@")[2].partition("/")[0]


def test_old_commit_goes_and_the_one_of_the_manifest_stays(hub, use, monkeypatch, capsys, tmp_path):
    old, older, new = (make_entry(hub, tmp_path, "org/net", bias) for bias in (1, 2, 3))
    for cfg in (old, older, new):
        use(cfg)
        assert run(monkeypatch, capsys, "weights", "download")[0] == 0
    cache = tmp_path / "cache"
    before = size_of(cache)
    code, planned, _ = run(monkeypatch, capsys, "weights", "prune", "--dry-run")
    assert code == 0
    assert planned.endswith(f"{2 * old.size} bytes would be freed\n")
    assert size_of(cache) == before
    code, out, _ = run(monkeypatch, capsys, "weights", "prune")
    commits = ", ".join(sorted(map(commit_of, (old, older))))
    assert out == f"hf-hub:org/net@{commits}: not in the manifest, {2 * old.size} bytes\n{2 * old.size} bytes freed\n"
    assert (code, before - size_of(cache)) == (0, 2 * old.size)
    hub.requests.clear()
    assert gatezoo.create_model("test_fcn", pretrained=True).head.bias[0] == 3
    assert hub.counted() == []
    assert run(monkeypatch, capsys, "weights", "prune")[1] == "0 bytes freed\n"


def test_repository_that_left_the_manifest_goes_with_its_notes(hub, use, monkeypatch, capsys, tmp_path):
    cfg, other = make_entry(hub, tmp_path, "org/net", 1), make_entry(hub, tmp_path, "org/more", 2)
    use(cfg)
    path = client.fetch("org/net", commit_of(cfg), "model.safetensors")
    os.utime(path, (OLD, OLD))
    (notes := path.parents[2] / "verified" / commit_of(cfg)).mkdir(parents=True)
    (notes / "model.safetensors.json").write_text("{}")
    use(other)
    assert f"{cfg.size} bytes freed" in run(monkeypatch, capsys, "weights", "prune")[1]
    assert not path.parents[2].exists()


def test_own_choice_of_the_user_stays(hub, use, monkeypatch, capsys, tmp_path):
    branch, pinned = make_entry(hub, tmp_path, "me/branch", 1), make_entry(hub, tmp_path, "me/pinned", 2)
    use(make_entry(hub, tmp_path, "org/net", 3))
    gatezoo.from_pretrained("me/branch")
    gatezoo.create_model(f"hf-hub:me/pinned@{commit_of(pinned)}", pretrained=True)
    before = size_of(tmp_path / "cache")
    assert run(monkeypatch, capsys, "weights", "prune")[:2] == (0, "0 bytes freed\n")
    assert size_of(tmp_path / "cache") == before
    # They are verified, though the manifest does not know them.
    code, out, _ = run(monkeypatch, capsys, "weights", "verify")
    names = [
        f"hf-hub:{repo}@{commit_of(cfg)}/model.safetensors"
        for repo, cfg in (("me/branch", branch), ("me/pinned", pinned))
    ]
    assert code == 0
    assert [line.partition(": intact, ")[0] for line in out.splitlines()[1:]] == names
    path = client.cached("me/pinned", commit_of(pinned), "model.safetensors")
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    code, out, _ = run(monkeypatch, capsys, "weights", "verify")
    assert code == 1
    assert f"{names[1]}: damaged, {path} of {names[1]}: remove it, and it is downloaded again" in out
    states = [result["state"] for result in json.loads(run(monkeypatch, capsys, "weights", "verify", "--json")[1])]
    assert states == ["missing", "intact", "damaged"]


def plain_snapshot(cache, repo, data):
    """A snapshot of weights alone, as programs that pin a commit make it."""
    folder, name = cache / f"models--{repo.replace('/', '--')}", hashlib.sha256(data).hexdigest()
    (folder / "blobs").mkdir(parents=True)
    (folder / "blobs" / name).write_bytes(data)
    (snapshot := folder / "snapshots" / ("a" * 40)).mkdir(parents=True)
    (snapshot / "model.safetensors").symlink_to(f"../../blobs/{name}")
    return folder


def test_commit_that_a_branch_names_stays(hub, use, monkeypatch, capsys, tmp_path):
    use(make_entry(hub, tmp_path, "org/net", 1))
    folder = plain_snapshot(tmp_path / "cache", "org/old", b"4")
    (folder / "refs").mkdir()
    (folder / "refs/main").write_text("a" * 40)
    assert run(monkeypatch, capsys, "weights", "prune")[:2] == (0, "0 bytes freed\n")
    assert folder.exists()
    (folder / "refs/main").unlink()
    assert run(monkeypatch, capsys, "weights", "prune")[1].endswith("1 bytes freed\n")


def test_downloads_of_other_programs_in_a_shared_cache_stay(hub, use, monkeypatch, capsys, tmp_path):
    use(make_entry(hub, tmp_path, "org/net", 1))
    monkeypatch.delenv("GATEZOO_CACHE")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "shared"))
    other = plain_snapshot(tmp_path / "shared", "someone/thing", b"theirs")
    ours = plain_snapshot(tmp_path / "shared", "org/test_fcn.old", b"ours")
    assert run(monkeypatch, capsys, "weights", "verify")[1].count("intact") == 1
    assert "4 bytes freed" in run(monkeypatch, capsys, "weights", "prune")[1]
    assert not ours.exists()
    assert (other / "snapshots" / ("a" * 40) / "model.safetensors").read_bytes() == b"theirs"


def test_partial_files_go_unless_they_grow_or_are_another_programs(hub, use, monkeypatch, capsys, tmp_path):
    use(make_entry(hub, tmp_path, "org/net", 1))
    cache = tmp_path / "cache"
    places = [
        cache / "models--org--net/blobs",
        cache / f"models--org--net/snapshots/{'b' * 40}",
        cache / f"gatezoo/{'c' * 64}",
    ]
    gone = [place / f"{'0123456789abcdef'}.incomplete" for place in places]
    kept = [places[0] / f"{'d' * 16}.incomplete", places[0] / f"{'e' * 64}.incomplete"]
    for path in gone + kept:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"12345")
    for path in [*gone, kept[1]]:
        os.utime(path, (time.time() - 61,) * 2)
    code, out, _ = run(monkeypatch, capsys, "weights", "prune", "--dry-run")
    assert all(path.exists() for path in gone)
    assert run(monkeypatch, capsys, "weights", "prune")[1] == out.replace("would be freed", "freed")
    assert (code, out.splitlines()[-1]) == (0, "15 bytes would be freed")
    assert not any(path.exists() for path in gone)
    assert all(path.exists() for path in kept)


def test_files_of_https_servers_go_unless_the_manifest_names_them(hub, use, monkeypatch, capsys, tmp_path):
    data = b"weights"
    cfg = dataclasses.replace(
        make_entry(hub, tmp_path, "org/net", 1), sources=(WEB,), size=7, sha256=hashlib.sha256(data).hexdigest()
    )
    use(cfg)
    named = client.cache_path(WEB, cfg.sha256)
    old = client.cache_path(WEB, hashlib.sha256(b"old").hexdigest())
    moved = client.cache_path("https://files.test/moved.safetensors", hashlib.sha256(b"moved").hexdigest())
    for path, content in ((named, data), (old, b"old"), (moved, b"Moved")):
        path.parent.mkdir(parents=True)
        path.write_bytes(content)
    old.with_name(f"{old.name}.verified.json").write_text("{}")
    named.with_name("other.safetensors").write_bytes(data)  # once at another address
    code, out, _ = run(monkeypatch, capsys, "weights", "verify")
    assert code == 1
    assert f"test_fcn.local: intact, {named}\n" in out
    assert f"{old}: intact, {old}" in out
    assert f"{moved}: damaged, {moved} of {moved}: remove it" in out
    assert len(out.splitlines()) == 3
    assert run(monkeypatch, capsys, "weights", "prune")[1].endswith("17 bytes freed\n")
    assert [path.name for path in named.parent.iterdir()] == [named.name]
    assert not old.parent.exists()
    assert not moved.parent.exists()


def test_nothing_outside_the_cache_is_touched(hub, use, monkeypatch, capsys, tmp_path):
    use(make_entry(hub, tmp_path, "org/net", 1))
    cache, outside = tmp_path / "cache", tmp_path / "outside"
    (linked := plain_snapshot(outside, "org/linked", b"1")).rename(outside / "repo")
    partial = outside / "repo/blobs/0123456789abcdef.incomplete"
    (outside / "web").mkdir()
    (outside / "web/x.safetensors").write_bytes(b"2")
    partial.write_bytes(b"3")
    os.utime(partial, (OLD, OLD))
    # A repository, a folder of blobs, one file of a snapshot, and a folder of an https server that lie elsewhere.
    plain_snapshot(cache, "org/blobs", b"4")
    (cache / "models--org--blobs/blobs").rename(outside / "blobs")
    (cache / "models--org--blobs/blobs").symlink_to(outside / "blobs")
    file = plain_snapshot(cache, "org/file", b"5") / f"snapshots/{'a' * 40}/more.safetensors"
    file.symlink_to(outside / "web/x.safetensors")
    (cache / "models--org--linked").symlink_to(outside / "repo")
    # Two commits, of which one goes, so that its notes go alone.
    noted = plain_snapshot(cache, "org/noted", b"6")
    (noted / "snapshots" / ("b" * 40)).mkdir()
    (outside / "notes" / ("a" * 40)).mkdir(parents=True)
    (outside / "notes" / ("a" * 40) / "x.json").write_bytes(b"7")
    (noted / "verified").symlink_to(outside / "notes")
    (cache / "gatezoo").mkdir()
    (cache / "gatezoo" / ("f" * 64)).symlink_to(outside / "web")
    assert linked.name == "models--org--linked"
    before = {path: path.read_bytes() for path in outside.rglob("*") if path.is_file()}
    code, out, _ = run(monkeypatch, capsys, "weights", "prune")
    assert (code, out.splitlines()[1:]) == (0, ["1 bytes freed"])
    assert not (noted / "snapshots" / ("a" * 40)).exists()
    assert {path: path.read_bytes() for path in outside.rglob("*") if path.is_file()} == before
    assert len(before) == 6


@pytest.mark.parametrize("command", [("prune",), ("prune", "--dry-run"), ("verify",), ("verify", "--json"), ("list",)])
def test_missing_cache_is_no_error(hub, use, monkeypatch, capsys, tmp_path, command):
    use(make_entry(hub, tmp_path, "org/net", 1))
    code, _, err = run(monkeypatch, capsys, "weights", *command, "--cache-dir", tmp_path / "nowhere")
    assert (code, err) == (0, "")
    assert not (tmp_path / "nowhere").exists()


def test_repository_that_another_process_downloads_from_stays(hub, use, monkeypatch, capsys, tmp_path):
    use(make_entry(hub, tmp_path, "org/net", 1))
    folder = plain_snapshot(tmp_path / "cache", "org/old", b"4")
    (partial := folder / "blobs/0123456789abcdef.incomplete").touch()
    assert run(monkeypatch, capsys, "weights", "prune")[:2] == (0, "0 bytes freed\n")
    assert partial.exists()
    os.utime(partial, (OLD, OLD))
    assert run(monkeypatch, capsys, "weights", "prune")[1].endswith("1 bytes freed\n")
    assert not folder.exists()


def test_what_cannot_be_removed_is_one_line(hub, use, monkeypatch, capsys, tmp_path):
    use(make_entry(hub, tmp_path, "org/net", 1))
    folder = plain_snapshot(tmp_path / "cache", "org/old", b"4")
    monkeypatch.setattr("shutil.rmtree", lambda *_, **__: None)
    code, _, err = run(monkeypatch, capsys, "weights", "prune")
    assert code == 2
    assert err.startswith(f"gatezoo: the cache must be writable to remove {folder}/snapshots/")
    assert len(err.splitlines()) == 1
