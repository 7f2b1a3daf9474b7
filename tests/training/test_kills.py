"""Trainings that are killed, lose power, run out of disk or find damaged files: exact after resuming, or answered."""

import logging
import multiprocessing
import os
import random
import shutil
import signal
import time
from pathlib import Path

import pytest
import torch
from helpers.paths import ROOT
from helpers.small_training import draw_images, products, train_in_child, train_small

from gatezoo.training import tasks
from gatezoo.training.run_folder import RunFolder
from gatezoo.training.state_file import read_state


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    real = tasks.SemanticTask.evaluate
    yield draw_images(tmp_path_factory.mktemp("data") / "shapes")
    tasks.SemanticTask.evaluate = real


@pytest.fixture(scope="module")
def whole(data, tmp_path_factory):
    """Return what an uninterrupted training leaves, and its folder."""
    out = tmp_path_factory.mktemp("whole") / "out"
    train_small(data, out)
    return products(out), out


class PowerLoss(BaseException):
    pass


def damage(path, how):
    size = path.stat().st_size
    path.write_bytes({"cut": path.read_bytes()[: size // 2], "zeroed": bytes(size), "empty": b""}[how])


class Outlet:
    """Cut the power after a number of writes into a folder; what was written last is damaged."""

    def __init__(self, monkeypatch, out, after, how):
        self.out, self.left, self.how, self.lost = out, after, how, None
        self.replace, self.log = os.replace, RunFolder.log
        monkeypatch.setattr(os, "replace", self.after_replace)
        monkeypatch.setattr(RunFolder, "log", lambda folder, row: self.after_log(folder, row))

    def after_replace(self, source, target):
        self.replace(source, target)
        if self.out in Path(target).parents:
            # What is only renamed has been on the disk for long.
            self.count(Path(target), damaged=Path(source).parent.name.startswith(".part"))

    def after_log(self, folder, row):
        self.log(folder, row)
        self.count(folder.path / "summary.csv", damaged=True)

    def count(self, path, damaged):
        self.left -= 1
        if self.left == 0:
            self.lost = path.name
            if damaged and self.how != "whole":
                damage(path, self.how)
            raise PowerLoss


@pytest.mark.slow
@pytest.mark.parametrize("how", ["whole", "cut", "zeroed"])
def test_no_loss_of_power_loses_more_than_two_saves(data, whole, tmp_path, monkeypatch, how):
    points, refused = 0, []
    while True:
        points, out = points + 1, tmp_path / str(points)
        with monkeypatch.context() as patch:
            outlet = Outlet(patch, out, points, how)
            try:
                train_small(data, out)
            except PowerLoss:
                pass
            else:
                break
        try:
            train_small(data, out, "auto")
        except ValueError as error:
            refused.append((outlet.lost, str(error)))
            shutil.rmtree(out)
            continue
        assert products(out) == whole[0], (points, outlet.lost)
        assert not list(out.glob(".part*"))
        shutil.rmtree(out)
    assert points > 25
    # The first state of all has none before it.
    assert [name for name, _ in refused] == (["trainer_state.pt"] if how != "whole" else [])
    for _, message in refused:
        assert "must be as it was saved" in message
        assert "\n" not in message


@pytest.mark.slow
def test_every_flipped_bit_of_a_state_is_noticed(data, whole, tmp_path, caplog):
    out = tmp_path / "out"
    shutil.copytree(whole[1], out)
    content, rng = (out / "trainer_state.pt").read_bytes(), random.Random(0)
    for _ in range(25):
        bit = rng.randrange(8 * len(content))
        flipped = bytearray(content)
        flipped[bit // 8] ^= 1 << bit % 8
        (out / "trainer_state.pt").write_bytes(flipped)
        with pytest.raises(ValueError, match=r"trainer_state\.pt is (damaged|cut)"):
            read_state(out / "trainer_state.pt")
    caplog.set_level(logging.INFO, logger="gatezoo")
    train_small(data, out, True)
    assert "continuing from the state before it, of step 4" in caplog.text
    assert products(out) == whole[0]
    assert read_state(out / "trainer_state.pt")["step"] == 5


@pytest.fixture(scope="module")
def start():
    """Start trainings in processes that share the time to import."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["helpers.small_training"])
    # Some versions of Python import what is preloaded with their own path only, and say nothing if it is not there.
    monkeypatch = pytest.MonkeyPatch()
    monkeypatch.setenv("PYTHONPATH", f"{ROOT}{os.pathsep}{ROOT / 'tests'}")

    def start(*args, **kwargs):
        process = context.Process(target=train_in_child, args=args, kwargs=kwargs)
        process.start()
        return process

    yield start
    monkeypatch.undo()


def wait_for_rows(out, count):
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        if (out / "summary.csv").exists() and len((out / "summary.csv").read_text().splitlines()) > count:
            return
        time.sleep(0.005)
    raise TimeoutError(out)


def finish(process):
    process.join(120)
    return process.exitcode


@pytest.mark.slow
def test_killed_trainings_resume_exactly(data, start, tmp_path):
    assert finish(start(data, tmp_path / "whole")) == 0
    begin = time.monotonic()
    assert finish(start(data, tmp_path / "again")) == 0
    seconds, rng, killed, expected = time.monotonic() - begin, random.Random(), 0, products(tmp_path / "whole")
    assert products(tmp_path / "again") == expected
    for trial in range(30):
        out, after = tmp_path / str(trial), rng.uniform(0, seconds)
        process = start(data, out)
        time.sleep(after)
        process.kill()
        killed += finish(process) == -signal.SIGKILL
        process = start(data, out, "auto")
        assert finish(process) == 0, (trial, after)
        assert products(out) == expected, (trial, after)
        shutil.rmtree(out)
    assert killed > 5


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_save_and_resume_exactly(data, start, tmp_path, number):
    long = dict(steps=40, checkpoint_interval=0, eval_interval=30)
    assert finish(start(data, tmp_path / "whole", changes=long)) == 0
    process = start(data, tmp_path / "out", changes=long)
    wait_for_rows(tmp_path / "out", 3)
    os.kill(process.pid, number)
    assert finish(process) == 128 + number
    assert 3 <= read_state(tmp_path / "out/trainer_state.pt")["step"] < 40
    assert finish(start(data, tmp_path / "out", True, changes=long)) == 0
    assert products(tmp_path / "out") == products(tmp_path / "whole")


@pytest.mark.slow
def test_full_disk_loses_nothing(data, whole, start, tmp_path):
    out = tmp_path / "out"
    sizes = [(whole[1] / name).stat().st_size for name in ("last.safetensors", "trainer_state.pt")]
    assert finish(start(data, out, changes=dict(steps=5))) == 0
    for name in ("trainer_state.pt", "best.safetensors", "last.safetensors"):
        shutil.copy(whole[1] / name, out / name)
    os.replace(out / "trainer_state.prev.pt", out / "trainer_state.pt")  # of step 4
    state = (out / "trainer_state.pt").read_bytes()
    for limit in (sizes[0] // 2, sum(sizes) // 2, 300):  # fails at the checkpoint, at the state, at the log
        assert finish(start(data, out, True, size_limit=limit)) == 2
        message = Path(f"{out}.refused").read_text()
        assert "must be writable; File too large" in message
        assert "\n" not in message
        assert (out / "trainer_state.pt").read_bytes() == state
        assert not list(out.glob(".part*"))
    assert finish(start(data, out, True)) == 0


@pytest.mark.slow
def test_second_training_into_a_folder_is_refused(data, start, tmp_path):
    out, long = tmp_path / "out", dict(steps=2000)
    first = start(data, out, changes=long)
    wait_for_rows(out, 1)
    for resume in (True, "auto"):
        assert finish(start(data, out, resume, changes=long)) == 2
        message = Path(f"{out}.refused").read_text()
        assert f"one training at a time must write into a folder; process {first.pid} on" in message
        assert "\n" not in message
    assert first.is_alive()
    first.kill()
    assert finish(first) == -signal.SIGKILL
    second = start(data, out, True, changes=long)  # the lock is gone with its process
    done = len((out / "summary.csv").read_text().splitlines())
    wait_for_rows(out, done)
    second.kill()
    finish(second)


def test_best_weights_go_back_with_the_state(tmp_path):
    def reopen(resume):
        folder = RunFolder(tmp_path, resume, ("miou",))
        state = folder.load()
        folder.start()
        return folder, state

    folder, _ = reopen(False)
    best = []
    for step in (1, 2):
        weights = {"weight": torch.full((2,), float(step))}
        folder.save({"step": step}, weights, {"step": step, "history": []}, best=True)
        best.append((tmp_path / "best.safetensors").read_bytes())
    damage(tmp_path / "trainer_state.pt", "zeroed")
    folder, state = reopen(True)
    assert state["step"] == 1
    assert folder.has_best
    assert (tmp_path / "best.safetensors").read_bytes() == best[0] != best[1]
    damage(tmp_path / "best.safetensors", "zeroed")
    assert not reopen(True)[0].has_best


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"", "is empty"), (b"PK\3\4" + bytes(500), "is cut or no state"), (b"x" * 50, "is cut or no state")],
)
def test_foreign_states_are_refused_in_one_line(data, tmp_path, content, reason):
    (tmp_path / "trainer_state.pt").write_bytes(content)
    with pytest.raises(ValueError, match=reason) as refusal:
        train_small(data, tmp_path, "auto")
    assert "\n" not in str(refusal.value)
    assert (tmp_path / "trainer_state.pt").read_bytes() == content


def test_resume_refuses_another_training(data, tmp_path, caplog):
    out = tmp_path / "out"
    with pytest.raises(ValueError, match="the folder to resume from must hold the state of a training"):
        train_small(data, out, True)
    train_small(data, out, "auto", dict(steps=2))
    train_small(data, out, True, dict(steps=2, log_interval=7, eval_interval=3, checkpoint_interval=9))
    other = dict(lr=0.02, seed=3, steps=3)
    with pytest.raises(ValueError, match="resume must continue the same training") as refusal:
        train_small(data, out, True, other)
    assert "changed: steps (2, now 3), lr (0.01, now 0.02), seed (0, now 3)" in str(refusal.value)
    assert "\n" not in str(refusal.value)
    fixed = [(dict(opt="adamw"), "opt ('momentum', now 'adamw')"), (dict(ema_decay=0.9), "ema_decay (0.0, now 0.9)")]
    for changes, text in fixed:
        with pytest.raises(ValueError, match="same network and optimizer") as refusal:
            train_small(data, out, True, dict(steps=2, **changes), with_changes=True)
        assert text in str(refusal.value)
    with pytest.raises(ValueError, match=r"resume must continue with the network of .*; this is another"):
        train_small(data, out, True, dict(steps=2), with_changes=True, model="test_dignet")
    more = shutil.copytree(data, tmp_path / "more")
    shutil.copy(more / "images/0.png", more / "images/9.png")
    shutil.copy(more / "labels/0.png", more / "labels/9.png")
    with pytest.raises(ValueError, match=r"changed: images of the training data \(4, now 5\), files of the training"):
        train_small(more, out, True, dict(steps=2))
    with pytest.raises(ValueError, match=r"steps must be at least the 2 that .* has done; got 1"):
        train_small(data, out, True, dict(steps=1), with_changes=True)
    caplog.set_level(logging.INFO, logger="gatezoo")
    assert train_small(data, out, True, dict(weight_decay=0.5, **other), with_changes=True)["history"][-1]["step"] == 3
    assert "resuming with changes: steps (2, now 3), " in caplog.text
    decays = {group["weight_decay"] for group in read_state(out / "trainer_state.pt")["optimizer"]["param_groups"]}
    assert decays == {0.0, 0.5}
