"""One training at a time writes into a folder."""

import errno
import logging
import os
import subprocess
import sys

import pytest

import gatezoo
from gatezoo.data import FolderDataset
from gatezoo.recipes.recipe import Recipe
from gatezoo.training import folder_lock
from gatezoo.training.folder_lock import LOCK, check_unlocked, lock_folder
from gatezoo.training.options import RunOptions
from gatezoo.training.run_folder import RunFolder
from gatezoo.training.trainer import Trainer

fcntl = pytest.importorskip("fcntl", reason="this system has no such locks")

# Another process, which takes a lock that others may share, writes its name and waits; or tells that it cannot.
OTHER = """
import fcntl, sys
file = open(sys.argv[1], "a+")
try:
    fcntl.lockf(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
except OSError:
    sys.exit("refused")
file.truncate(0)
file.write("77 on host")
file.flush()
print("held", flush=True)
sys.stdin.read()
"""


def other(folder):
    pipes = dict(stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    return subprocess.Popen([sys.executable, "-c", OTHER, folder / LOCK], **pipes)


def test_folder_of_another_process_is_refused_until_it_ends(tmp_path):
    child = other(tmp_path)
    assert child.stdout.readline() == "held\n"
    for use in (check_unlocked, lambda path: lock_folder(path).__enter__(), lambda path: RunFolder(path, False, ())):
        with pytest.raises(ValueError, match=r"one training at a time .*; process 77 on host trains into"):
            use(tmp_path)
    child.kill()
    child.communicate()
    check_unlocked(tmp_path)
    with lock_folder(tmp_path):
        assert other(tmp_path).communicate()[1] == "refused\n"
    assert other(tmp_path).communicate()[0] == "held\n"
    with lock_folder(tmp_path):  # reading the file releases the lock
        assert (tmp_path / LOCK).read_text().startswith(f"{os.getpid()} on ")


def test_training_holds_the_lock_until_its_end(shapes, tmp_path, monkeypatch):
    data, model, out = FolderDataset(shapes, 2), gatezoo.create_model("test_fcn", num_classes=2), tmp_path / "out"
    answers = []
    monkeypatch.setattr(Trainer, "_run_steps", lambda _: answers.extend(other(out).communicate()))
    Trainer(model, data, data, Recipe(amp_dtype="none"), RunOptions(out, "cpu", workers=0)).run()
    assert answers == ["", "refused\n"]
    assert other(out).communicate() == ("held\n", "")


def test_file_system_without_locks_is_told_once(tmp_path, monkeypatch, caplog):
    def fail(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    caplog.set_level(logging.INFO, logger="gatezoo")
    (tmp_path / LOCK).touch()
    monkeypatch.setattr(folder_lock.fcntl, "lockf", fail)
    check_unlocked(tmp_path)
    assert not caplog.messages
    with lock_folder(tmp_path):
        pass
    assert caplog.messages == [f"{tmp_path} cannot be locked (No locks available): start no second training into it"]
