"""Trainings of an experiment with a seed: their folders, their state, and the rows of results.csv that they give."""

from __future__ import annotations

import contextlib
import csv
import functools
import json
import os
import platform
import statistics
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from zoo_tables import METRICS, Queue, Row, fingerprint

import gatezoo
from gatezoo.model_info import on_meta
from gatezoo.recipes.experiments import Experiment, Stage
from gatezoo.utils.files import write_json
from gatezoo.weights.checkpoint_files import checkpoint_metadata


@dataclass(frozen=True, eq=False)
class Run:
    """The training of an experiment with a seed.

    Attributes:
        experiment: what is trained.
        seed: of weights, order and augmentation.
        folder: of the training and its scores.
        start: the training from whose last weights it starts.
        is_corrupted: whether it is scored on corrupted images, too.
    """

    experiment: Experiment
    seed: int
    folder: Path
    start: Run | None
    is_corrupted: bool = False

    def __str__(self) -> str:
        return f"{self.experiment.name} seed {self.seed}"

    @property
    def last_stage(self) -> Experiment | Stage:
        """The last stage, or the experiment itself if it has none."""
        return (self.experiment.stages or (self.experiment,))[-1]

    @property
    def checkpoint(self) -> Path:
        """File of the last weights."""
        last = self.last_stage
        folder = f"{len(self.experiment.stages)}_{last.name}" if isinstance(last, Stage) else ""
        return self.folder / folder / "last.safetensors"

    @property
    def steps(self) -> int:
        """Number of steps of the training, or of its last stage."""
        return self.last_stage.recipe.steps

    @property
    def step(self) -> int:
        """Step of the last weights."""
        return checkpoint_metadata(self.checkpoint)["step"] if self.checkpoint.exists() else 0

    @property
    def trained(self) -> bool:
        """Whether the last step is done."""
        return self.step == self.steps

    @functools.cached_property
    def iterations(self) -> int:
        """The network's own number of passes."""
        model = on_meta(self.experiment.model, **self.last_stage.model_kwargs)
        return model.iterations if "iterations" in model.capabilities else 1

    @property
    def report(self) -> Path:
        """File of the scores."""
        return self.folder / "scores" / "scores.json"

    @property
    def corruptions(self) -> Path:
        """File of the scores on corrupted images."""
        return self.folder / "corrupted" / "corruptions.csv"

    @property
    def passes(self) -> int:
        """Number of passes that are scored."""
        return max(self.iterations, self.experiment.protocol.iterations or 1)

    def about(self) -> dict[str, Any]:
        """Return what is known of the training beside its weights: time, machines and recipe."""
        path = self.folder / "run.json"
        if path.exists():
            return json.loads(path.read_text(encoding="utf-8"))
        return {"wall_s": 0.0, "cpu_s": 0.0, "machine": [], "cores": [], "recipe": fingerprint(self.experiment)}

    def add_piece(self, wall_s: float, cpu_s: float, device: torch.device) -> None:
        """Add the time of a piece of the training, and the machine that it ran on."""
        about = self.about()
        about["wall_s"], about["cpu_s"] = about["wall_s"] + wall_s, about["cpu_s"] + cpu_s
        for key, value in (("machine", machine_name(device)), ("cores", len(os.sched_getaffinity(0)))):
            about[key] += [value] if value not in about[key] else []
        write_json(self.folder / "run.json", about)

    def rows(self, commit: str) -> list[Row]:
        """Return the rows of results.csv, one for each pass."""
        about, rows = self.about(), []
        shared = {"experiment": self.experiment.name, "seed": self.seed, "iterations": self.iterations}
        shared |= {"steps": self.steps, "recipe": about["recipe"], "version": gatezoo.__version__, "commit": commit}
        shared |= {key: f"{about[key]:.0f}" for key in ("wall_s", "cpu_s")}
        shared |= {key: " + ".join(map(str, about[key])) for key in ("machine", "cores")}
        report = json.loads(self.report.read_text(encoding="utf-8"))
        for number, values in enumerate(report.get("by_iteration", [report["scores"]]), start=1):
            scores = values | (values.get("depth") or {})
            row = {key: f"{scores[key]:.6f}" for key in METRICS if scores.get(key) is not None}
            if "iou" in scores:
                names, values = report["classes"], scores["iou"]
                row["iou"] = json.dumps({k: v if v is None else round(v, 4) for k, v in zip(names, values)})
            if number == self.iterations:
                row |= {"merged_miou": f"{report['scores']['miou']:.6f}"} if "merge" in report["protocol"] else {}
                row |= self.corrupted_scores() if self.is_corrupted else {}
            rows.append(shared | {"pass": number} | row)
        return rows

    def corrupted_scores(self) -> Row:
        """Return the columns of the scores on corrupted images."""
        found: dict[str, list[float]] = {}
        with self.corruptions.open(newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                if row["severity"] != "0":
                    found.setdefault(row["corruption"], []).append(round(float(row["miou"]), 4))
        scores = [score for severities in found.values() for score in severities]
        return {"corrupted_miou": f"{statistics.fmean(scores):.6f}", "corrupted": json.dumps(found)}


def machine_name(device: torch.device) -> str:
    """Return the name of the GPU or of the processor."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def package_commit() -> str:
    """Return the commit of the package; empty if it is not one of a repository."""
    folder = Path(gatezoo.__file__).parent
    command = ["git", "-C", str(folder), "log", "-1", "--format=%h", "--", "."]
    with contextlib.suppress(OSError):
        return subprocess.run(command, capture_output=True, text=True).stdout.strip()
    return ""


def plan(queue: Queue, tables: Sequence[str], out: Path) -> list[Run]:
    """Return the trainings of some tables, seed by seed, so that pairs are complete early, each after its start."""
    runs: dict[tuple[str, int], Run] = {}

    def add(name: str, seed: int) -> Run:
        if (name, seed) not in runs:
            experiment = queue.experiments[name]
            start = add(experiment.start, seed) if experiment.start else None
            folder = out / name / f"seed{seed}"
            runs[name, seed] = Run(experiment, seed, folder, start, queue.is_corrupted(name))
        return runs[name, seed]

    for table in tables:
        for seed in queue.tables[table].seeds:
            for name in queue.tables[table].rows:
                add(name, seed)
    return list(runs.values())
