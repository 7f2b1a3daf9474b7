import json
import math
import os
import re

import pytest

from gatezoo.utils.files import atomic_write, ensure_dir, write_bytes, write_json, write_text


def test_written_files_have_the_given_content(tmp_path):
    write_bytes(tmp_path / "b", memoryview(b"\x00\xff"))
    write_text(tmp_path / "t.txt", "Straße\r\n")
    write_json(tmp_path / "j.json", {"ä": [1, 2]})
    write_json(tmp_path / "line.json", {"ä": [1, 2]}, indent=None)
    write_json(tmp_path / "name.json", os.fsdecode(b"\xe9.png"))
    assert (tmp_path / "b").read_bytes() == b"\x00\xff"
    assert (tmp_path / "t.txt").read_bytes() == "Straße\r\n".encode()
    assert (tmp_path / "j.json").read_text(encoding="utf-8") == '{\n "ä": [\n  1,\n  2\n ]\n}\n'
    assert (tmp_path / "line.json").read_text(encoding="utf-8") == '{"ä": [1, 2]}\n'
    assert json.loads((tmp_path / "name.json").read_text(encoding="utf-8")) == os.fsdecode(b"\xe9.png")
    assert len(list(tmp_path.iterdir())) == 5, "no temporary file is left"


def test_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "scores.json"
    write_json(path, 1)

    def write_half(tmp_path):
        tmp_path.write_text("half")
        raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        atomic_write(path, write_half)
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(path, math.nan, allow_nan=False)
    assert path.read_text() == "1\n"
    assert list(tmp_path.iterdir()) == [path]
    write_json(path, math.nan)
    assert math.isnan(json.loads(path.read_text()))


def test_content_is_on_the_disk_before_the_name_and_the_old_file_may_be_kept(tmp_path, monkeypatch):
    path, previous, calls = tmp_path / "a", tmp_path / "b", []
    path.write_text("old")
    sync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda fd: calls.append(os.fstat(fd).st_ino) or sync(fd))
    monkeypatch.setattr(os, "replace", lambda *paths: calls.append(paths[1].name) or replace(*paths))
    atomic_write(path, lambda tmp_path: tmp_path.write_text("new"), previous)
    assert calls == [path.stat().st_ino, "b", "a", tmp_path.stat().st_ino]
    assert (path.read_text(), previous.read_text()) == ("new", "old")


def test_folders_that_cannot_be_written(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match=f"the output folder must be writable; got {re.escape(str(tmp_path))}"):
        ensure_dir(tmp_path / "file/folder")
    with pytest.raises(ValueError, match=r"the file .*a\.txt must be writable; Not a directory: choose another"):
        write_text(tmp_path / "file/a.txt", "")
    ensure_dir(tmp_path / "a/b")
    ensure_dir(tmp_path / "a/b")
    assert (tmp_path / "a/b").is_dir()


def test_planted_links_are_not_followed_and_permissions_are_those_of_new_files(tmp_path):
    victim, path = tmp_path / "victim", tmp_path / "out" / "a.txt"
    victim.write_text("mine")
    path.parent.mkdir()
    seen = []

    def write(place):
        seen.append(place)
        # Nobody else can enter the folder, whatever its name.
        assert place.parent.stat().st_mode & 0o077 == 0
        place.write_text("new")

    path.with_name(f".a.txt.{os.getpid()}.part.txt").symlink_to(victim)
    before = os.umask(0o022)
    try:
        atomic_write(path, write)
        atomic_write(path, write)
    finally:
        os.umask(before)
    assert (victim.read_text(), path.read_text()) == ("mine", "new")
    assert seen[0].parent != seen[1].parent
    assert path.stat().st_mode & 0o777 == 0o644


def test_message_of_a_file_that_cannot_be_written_names_the_cause(tmp_path):
    with pytest.raises(ValueError, match="must be writable; File name too long: choose another"):
        write_text(tmp_path / ("x" * 300), "")
    with pytest.raises(ValueError, match="must be writable; No such file or directory: choose another"):
        write_text(tmp_path / "absent/a.txt", "")
