"""Jobs are stopped by their visitor, a newer request or their time, within a network too."""

import threading
import time

import pytest
import torch
from helpers.pages import file_of, loaded

import gatezoo
from gatezoo.app import jobs
from gatezoo.app.exploring import explore
from gatezoo.app.jobs import Jobs, Stopped


def test_newer_job_stops_the_one_before_of_the_same_visitor():
    all_jobs = Jobs()
    with all_jobs.run("a") as first, all_jobs.run("b") as other:
        with all_jobs.run("a") as second:
            with pytest.raises(Stopped):
                first.check()
            second.check()
            other.check()
        all_jobs.stop("b")
        with pytest.raises(Stopped):
            other.check()
    all_jobs.stop("nobody")
    assert all_jobs._jobs == {}


def test_job_ends_after_its_time():
    with Jobs().run("a", seconds=0.0):
        time.sleep(0.001)
        with pytest.raises(ValueError, match="must be done within 0 seconds"):
            jobs.check()


def test_progress_is_reported_to_the_job_of_the_thread():
    heard = []
    jobs.report(None, "nobody hears this")
    with Jobs().run("a", lambda *what: heard.append(what)):
        jobs.report(0.5, "half")
        thread = threading.Thread(target=jobs.report, args=(None, "another thread has no job"))
        thread.start()
        thread.join()
    assert heard == [(0.5, "half")]


def test_network_is_stopped_in_the_middle(shapes):
    mine = loaded(gatezoo.create_model("test_dignet", num_classes=4))
    jobs.watch(mine.predictor.model)
    file, all_jobs, calls = file_of(shapes / "images/03.png"), Jobs(), []
    convolutions = [m for m in mine.predictor.model.modules() if isinstance(m, torch.nn.Conv2d)]

    def stop(*_):
        calls.append(None)
        if len(calls) == 5:
            all_jobs.stop("a")

    for module in convolutions:
        module.register_forward_hook(stop)
    with all_jobs.run("a"), pytest.raises(Stopped):
        explore(mine, file)
    assert len(calls) == 5
    with all_jobs.run("b"):
        explore(mine, file)
