"""Train the experiments of a queue over their seeds, score each pass, and write the tables of the recipes' page.

    python tools/train_zoo.py zoo_camvid.yaml --data-dir CAMVID --out RUNS --pretrained-backbone FILE --limit 60
    python tools/train_zoo.py zoo_camvid.yaml --out RUNS --list    # state of each training
    python tools/train_zoo.py --tables-only                        # write the tables of results.csv again
    python tools/train_zoo.py --check                              # exit code 1 if they are out of date

Ctrl-C, SIGTERM and --limit save every training; the same command continues. A training and its scores lie in
RUNS/EXPERIMENT/seedN. Trainings and evaluations are processes of the installed package.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import IO, Any

from zoo_runs import Run, package_commit, plan
from zoo_tables import (
    RECIPES,
    Queue,
    filled_page,
    fingerprint,
    of_experiment,
    read_queue,
    read_results,
    record,
    zoo_queues,
)

from gatezoo.metrics.names import format_metric, headline_key
from gatezoo.utils.choices import check_choice
from gatezoo.utils.devices import resolve_device
from gatezoo.utils.files import write_text

PAGE, RESULTS = RECIPES / "README.md", RECIPES / "results.csv"


@dataclass
class Job:
    """A process that trains or evaluates.

    Attributes:
        run: that it belongs to.
        process: the process.
        trains: whether it trains.
        lock: file that is locked as long as the process or this one lives, so that no other queue uses the folder.
        started: time of its start, in seconds.
    """

    run: Run
    process: subprocess.Popen[bytes]
    trains: bool
    lock: IO[str]
    started: float


class Scheduler:
    """Train and score runs in processes, several at a time, until all are done or a signal comes.

    Args:
        queue: that the runs are of.
        args: of the command line.
    """

    def __init__(self, queue: Queue, args: argparse.Namespace):
        self.queue, self.args, self.device = queue, args, resolve_device(args.device)
        self.commit = args.commit or package_commit()
        self.jobs: dict[int, Job] = {}
        self.failures = 0
        self.stopped_by = 0

    def work(self, pending: list[Run]) -> int:
        """Train and score these runs; return the exit code."""
        with self.signals():
            while True:
                while len(self.jobs) < self.args.jobs and not self.stopped_by and (run := next_run(pending)):
                    pending.remove(run)
                    self.begin(run)
                if not self.jobs:
                    break
                pid, status, usage = os.wait4(-1, 0)
                if job := self.jobs.pop(pid, None):
                    job.process.returncode = os.waitstatus_to_exitcode(status)
                    self.end(job, usage.ru_utime + usage.ru_stime)
        if pending:
            log(f"left: {', '.join(map(str, pending))}")
        if self.failures:
            return 1
        return 128 + self.stopped_by if self.stopped_by in (signal.SIGTERM, signal.SIGINT) else 0

    @contextlib.contextmanager
    def signals(self) -> Iterator[None]:
        """Pass SIGTERM, Ctrl-C and the end of the time on to the processes as SIGTERM, which saves."""

        def stop(number: int, frame: object) -> None:
            self.stopped_by = number
            for pid in list(self.jobs):
                terminate(pid)

        numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGALRM)
        previous = [signal.signal(number, stop) for number in numbers]
        signal.setitimer(signal.ITIMER_REAL, 60 * (self.args.limit or 0))
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            for number, handler in zip(numbers, previous):
                signal.signal(number, handler)

    def begin(self, run: Run) -> None:
        """Start the next process of a run, unless another queue uses its folder."""
        run.folder.mkdir(parents=True, exist_ok=True)
        lock = (run.folder / "lock").open("a")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            log(f"{run}: busy, another process trains it")
            return
        if run.about()["recipe"] != fingerprint(run.experiment):
            self.failures += 1
            lock.close()
            log(f"{run}: FAILED, {run.folder} holds a training by another recipe: remove it")
            return
        self.go_on(run, lock)

    def go_on(self, run: Run, lock: IO[str]) -> None:
        """Start the next process of a run, or record its results."""
        trains = not run.trained
        if trains:
            log(f"{run}: training from step {run.step} to {run.steps}")
            command = self.training(run)
        elif not run.report.exists():
            command = self.evaluation(run)
        elif run.is_corrupted and not run.corruptions.exists():
            command = self.corrupted_evaluation(run)
        else:
            self.record(run)
            lock.close()
            return
        environment = os.environ | {"OMP_NUM_THREADS": str(self.args.threads)}
        with (run.folder / "log.txt").open("ab") as output:
            # In the run's folder, as "-m" takes the package from the working folder if there is one.
            process = subprocess.Popen(
                ["nice", "-n", str(self.args.nice), sys.executable, "-m", "gatezoo", *map(str, command)],
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=run.folder,
                env=environment,
                pass_fds=[lock.fileno()],
                start_new_session=True,
            )
        self.jobs[process.pid] = Job(run, process, trains, lock, time.monotonic())
        if self.stopped_by:
            terminate(process.pid)

    def training(self, run: Run) -> list[Any]:
        """Return the command that trains."""
        command: list[Any] = ["train", "--recipe", f"{self.queue.path}:{run.experiment.name}", "--seed", run.seed]
        command += ["--out", run.folder, "--auto-resume", *self.data_options()]
        if self.args.pretrained_backbone:
            command += ["--pretrained-backbone", self.args.pretrained_backbone]
        return command + (["--initial-checkpoint", run.start.checkpoint] if run.start else [])

    def evaluation(self, run: Run) -> list[Any]:
        """Return the command that scores the last weights after each pass."""
        protocol = run.experiment.protocol
        command = [*self.scores(run), "--out", run.report.parent]
        command += ["--components", protocol.components] if protocol.components else []
        command += ["--merge", protocol.merge] if protocol.merge else []
        return command + (["--iterations", run.passes, "--all-iterations"] if run.passes > 1 else [])

    def corrupted_evaluation(self, run: Run) -> list[Any]:
        """Return the command that scores the last weights on corrupted images, after the network's own passes."""
        return [*self.scores(run), "--corruptions", "--out", run.corruptions.parent]

    def scores(self, run: Run) -> list[Any]:
        """Return what the commands that score have in common."""
        experiment = run.experiment
        command = ["eval", run.checkpoint, "--dataset", experiment.dataset, "--split", experiment.val_split]
        command += [f"--data-kwargs={key}={value!r}" for key, value in experiment.data.items()]
        return [*command, *self.data_options()]

    def data_options(self) -> list[Any]:
        """Return the options that both commands have."""
        return ["--data-dir", self.args.data_dir, "--device", self.device, "--workers", self.args.workers]

    def end(self, job: Job, cpu_s: float) -> None:
        """Take note of a process that ended, and start the run's next one."""
        run, code = job.run, job.process.returncode
        if job.trains:
            run.add_piece(time.monotonic() - job.started, cpu_s, self.device)
        if code == 0 and run.trained and not self.stopped_by:
            self.go_on(run, job.lock)
            return
        job.lock.close()
        if self.stopped_by:
            log(f"{run}: stopped at step {run.step} of {run.steps}")
        else:
            self.failures += 1
            log(f"{run}: FAILED with exit code {code}, see {run.folder / 'log.txt'}")

    def record(self, run: Run) -> None:
        """Write the results of a run, and the tables if they are the repository's."""
        rows = run.rows(self.commit)
        record(self.args.results, rows)
        if self.args.results == RESULTS:
            write_tables()
        final = {key: float(value) for key, value in rows[run.iterations - 1].items() if key in ("miou", "mask_ap")}
        key = headline_key(final)
        log(f"{run}: done, {format_metric(key, final[key]) if key else 'no score'}")


def terminate(pid: int) -> None:
    """Send SIGTERM; unlike Popen's method, which may take the exit status that os.wait4 waits for."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)


def next_run(pending: list[Run]) -> Run | None:
    """Return the first run whose start is trained."""
    return next((run for run in pending if run.start is None or run.start.trained), None)


def state(run: Run, results: list[dict[str, Any]]) -> str:
    """Describe the state of a run."""
    if is_recorded(run, results):
        return "done"
    if not run.folder.exists():
        return "not started"
    return "trained, not scored" if run.trained else f"step {run.step} of {run.steps}"


def is_recorded(run: Run, results: list[dict[str, Any]]) -> bool:
    """Return whether results.csv has all scores of the run, by its present recipe."""
    rows = [row for row in of_experiment(results, run.experiment) if row["seed"] == str(run.seed)]
    return bool(rows) and (not run.is_corrupted or any(row.get("corrupted_miou") for row in rows))


def write_tables(check: bool = False) -> int:
    """Write the tables of the page, or only check them; return the exit code."""
    text = filled_page(PAGE, zoo_queues(), read_results(RESULTS))
    if text == PAGE.read_text(encoding="utf-8"):
        return 0
    if check:
        print(f"the tables of {PAGE} are out of date: run python tools/train_zoo.py --tables-only", file=sys.stderr)
        return 1
    write_text(PAGE, text)
    return 0


def log(text: str) -> None:
    print(f"{datetime.now():%Y-%m-%d %H:%M:%S} {text}", flush=True)


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("queue", type=Path, nargs="?", help="YAML of experiments with tables; a name: of the recipes")
    parser.add_argument("--table", action="append", help="train this table alone; may be repeated; default: all")
    parser.add_argument("--data-dir", "--data", type=Path, help="folder of the data set")
    parser.add_argument("--out", type=Path, default=Path("runs"), help="folder of the trainings")
    parser.add_argument("--results", type=Path, default=RESULTS, help="file of the results")
    parser.add_argument("--pretrained-backbone", help="weights of the backbone to start from: 'timm', or a file")
    parser.add_argument("--jobs", type=int, default=1, help="number of trainings at a time")
    parser.add_argument("--threads", type=int, default=1, help="threads of each of them")
    parser.add_argument("--workers", type=int, default=1, help="processes that load images, for each of them")
    parser.add_argument("--nice", type=int, default=10, help="niceness of the processes")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1 or mps")
    parser.add_argument("--limit", type=float, help="save and stop after this many minutes")
    parser.add_argument("--commit", help="commit that the installed package was built from; default: git's")
    parser.add_argument("--list", action="store_true", help="show the state of each training and start none")
    parser.add_argument("--tables-only", action="store_true", help="write the tables of the results and train nothing")
    parser.add_argument("--check", action="store_true", help="exit code 1 if the tables are out of date")
    args = parser.parse_args(arguments)
    if not (args.tables_only or args.check):
        if args.queue is None:
            parser.error("QUEUE is needed to train")
        if args.data_dir is None and not args.list:
            parser.error("--data-dir is needed to train")
    return args


def main(arguments: list[str] | None = None) -> int:
    args = parse(arguments)
    if args.tables_only or args.check:
        return write_tables(args.check)
    queue = read_queue(args.queue if args.queue.exists() else RECIPES / args.queue)
    tables = args.table or list(queue.tables)
    for table in tables:
        check_choice("a table", table, queue.tables)
    for name in ("data_dir", "out", "results"):
        if path := getattr(args, name):
            setattr(args, name, path.resolve())
    if args.pretrained_backbone not in (None, "timm"):
        args.pretrained_backbone = Path(args.pretrained_backbone).resolve()
    runs, results = plan(queue, tables, args.out), read_results(args.results)
    if args.list:
        for run in runs:
            print(f"{run!s:60} {state(run, results)}")
        return 0
    pending: dict[Run, None] = {}

    def add(run: Run) -> None:
        if run.start and not run.start.trained:
            add(run.start)
        pending[run] = None

    for run in runs:
        if not is_recorded(run, results):
            add(run)
    log(f"{len(pending)} of {len(runs)} trainings to do")
    return Scheduler(queue, args).work(list(pending))


if __name__ == "__main__":
    try:
        sys.exit(main())
    except ValueError as error:
        sys.exit(f"train_zoo: {error}")
